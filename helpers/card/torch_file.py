"""Opens TorchScript archives, torch.export archives and factories, and exports them to ONNX as they are.

An archive holds a program that torch runs, and a factory is Python code. Neither is opened before the run's
parameters, or the command, name the file; a factory needs the user's consent as well.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.card.ports import PortForm, in_batches
from helpers.card.reading import OpenedCard
from helpers.errors import CheckpointError, GraphError, ParameterError, last_line
from helpers.graph.spec import GraphSpec
from helpers.graph.tracing import trace_to_onnx
from helpers.networks.checkpoint import load_checkpoint
from helpers.run.digest import digest_file

if TYPE_CHECKING:
    import torch

INPUT, OUTPUT = "input", "output"
_KINDS = 'TorchScript (torch.jit.trace(network, example).save("model.pt")), torch.export (.pt2) or ONNX (.onnx)'


@dataclass(frozen=True)
class OpenedModule:
    """A module that is ready to run.

    Attributes:
        module: a torch module or a TorchScript module, in eval mode.
        kind: TorchScript, torch.export or the factory, for tables.
        shape: of the input (N, C, ...) as far as the file fixes it; an axis of any length is None.
        weights: how its checkpoint was loaded.
    """

    module: torch.nn.Module
    kind: str
    shape: tuple[int | None, ...] | None
    weights: str


def open_module(opened: OpenedCard, *, consent: bool) -> OpenedModule:
    """Opens the model of a card that torch runs.

    Args:
        opened: the card.
        consent: whether the user allowed its factory to run.

    Raises:
        ParameterError: there is no consent, or the factory does not exist.
        CheckpointError: the file is not a torch archive, or the checkpoint does not fit.
    """
    if opened.card.model.factory is not None:
        return _build(opened, opened.card.model.factory, consent)
    return open_script_or_export(opened.model_file)


def open_script_or_export(path: Path) -> OpenedModule:
    """Opens an archive of torch.export (.pt2) or TorchScript (any other suffix).

    Raises:
        CheckpointError: the file is neither.
    """
    return _open_export(path) if path.suffix.lower() == ".pt2" else _open_script(path)


def _open_script(path: Path) -> OpenedModule:
    import torch

    if not zipfile.is_zipfile(path):
        raise _not_a_network(path, "no archive of torch")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if not any("/code/" in name for name in names):
        raise _not_a_network(path, "weights or a pickled object, without the network's program")
    try:
        module = torch.jit.load(str(path), map_location="cpu").eval()
    except RuntimeError as error:
        raise CheckpointError(f"{path} is not a TorchScript archive", received=last_line(error)) from None
    return OpenedModule(module, "TorchScript", None, f"{_count(module)} in a TorchScript archive")


def _open_export(path: Path) -> OpenedModule:
    import torch

    try:
        program = torch.export.load(path)
    except Exception as error:
        raise CheckpointError(f"{path} is not an archive of torch.export", received=last_line(error)) from None
    inputs = program.graph_signature.user_inputs
    if len(inputs) != 1:
        raise ParameterError(
            "the model has further inputs", received=", ".join(map(str, inputs)), expected="an image"
        )
    value = next(node.meta["val"] for node in program.graph.nodes if node.name == inputs[0])
    shape = tuple(axis if type(axis) is int else None for axis in value.shape)
    module = program.module()
    return OpenedModule(module, "torch.export", shape, f"{_count(module)} in an archive of torch.export")


def _build(opened: OpenedCard, factory: str, consent: bool) -> OpenedModule:
    import torch

    if not consent:
        raise ParameterError(
            f"{opened.path.name} names a factory, which is Python code that would run here",
            received=factory,
            remedy="Read that code; if you trust it, add `-p run_factory true`.",
        )
    build = _find(factory, opened.path.parent)
    try:
        network = build(**opened.card.model.arguments)
    except Exception as error:
        raise ParameterError(f"the factory {factory} failed", received=last_line(error)) from error
    if not isinstance(network, torch.nn.Module):
        raise ParameterError(
            f"the factory {factory} returns no network", received=type(network).__name__, expected="a torch.nn.Module"
        )
    report = load_checkpoint(network, opened.model_file)
    return OpenedModule(network.eval(), factory, None, f"{report.n_tensors} tensors ({report.wrapper})")


def digest_of_factory(factory: str, folder: Path) -> dict[str, str]:
    """The digests of the Python files that a factory's module consists of, by name; nothing is imported.

    For a package these are all its files. Files next to the card count as well, since the module may import them.
    """
    top = factory.partition(":")[0].partition(".")[0]
    spec = importlib.machinery.PathFinder.find_spec(top, [str(folder), *sys.path])
    origins = [] if spec is None else [Path(path) for path in spec.submodule_search_locations or [spec.origin or ""]]
    files = {file for path in origins for file in (path.rglob("*.py") if path.is_dir() else [path]) if file.is_file()}
    files |= {path for path in folder.glob("*.py") if path.is_file()}
    return {str(path): digest_file(path) for path in sorted(files)}


def _find(factory: str, folder: Path) -> Any:
    module, _, name = factory.partition(":")
    if not module or not name:
        raise ParameterError("model.factory cannot be used", received=factory, expected="module:callable")
    sys.path.insert(0, str(folder))
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ParameterError(
            f"the factory {factory} does not exist",
            received=str(error),
            remedy="Its module is looked for next to the card and in this Python environment.",
        ) from None
    finally:
        sys.path.remove(str(folder))
    return found


def _not_a_network(path: Path, received: str) -> CheckpointError:
    return CheckpointError(
        f"{path.name} has no network in it",
        received=received,
        expected=_KINDS,
        remedy="Save it in one of these forms, or name its class in model.factory and this file in model.checkpoint.",
    )


def _count(module: torch.nn.Module) -> str:
    return f"{sum(1 for _ in module.state_dict())} tensors"


class ModuleRunner:
    """Runs a module with its input and scores in the form of the cookbook.

    Args:
        opened: the module.
        form: of its ports.
        output: key or position of its output.
    """

    def __init__(self, opened: OpenedModule, form: PortForm, output: str | int | None):
        self._opened, self._form, self._output = opened, form, output

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """Scores (N, channels, ...) float32 of a batch (N, C, ...) float32."""
        shape = self._opened.shape
        return in_batches(self._run, batch, shape[0] if shape else None)

    def _run(self, batch: np.ndarray) -> np.ndarray:
        return self._form.from_file(run_module(self._opened, self._form.to_file(batch), self._output))


def run_module(opened: OpenedModule, batch: np.ndarray, output: str | int | None) -> np.ndarray:
    """One output of a module for a batch in its own layout.

    Raises:
        GraphError: the module cannot run on it.
        ParameterError: it has no such output.
    """
    import torch

    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = opened.module(torch.from_numpy(batch))
    except Exception as error:
        shape = " x ".join(str(axis) for axis in batch.shape)
        raise GraphError(
            f"the model cannot run on a batch of {shape}",
            received=last_line(error),
            remedy="Set preparation.size and the channels to what it takes; for another batch, set batch_size 1.",
        ) from None
    return choose(outputs, output).numpy()


def choose(outputs: Any, output: str | int | None) -> torch.Tensor:
    """The output of a key or a position; without one the first.

    Raises:
        ParameterError: there is none.
    """
    import torch

    if isinstance(outputs, dict):
        known = list(outputs)
        key = known[0] if output is None else output
        found = outputs.get(known[key] if isinstance(key, int) and key < len(known) else key)
    else:
        several = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
        known = list(range(len(several)))
        position = 0 if output is None else output
        found = several[position] if isinstance(position, int) and position < len(several) else None
    if not isinstance(found, torch.Tensor):
        raise ParameterError("the model has no such output", received=output, expected=f"one of {known}")
    return found


def export_module(
    opened: OpenedModule, spec: GraphSpec, sample: np.ndarray, output: str | int | None, path: Path
) -> None:
    """Writes a module as ONNX, with the ports that it has, as `INPUT` and `OUTPUT`.

    Args:
        opened: the module.
        spec: opset and batch of the graph.
        sample: a batch in the module's own layout.
        output, path: key or position of its output, and the file to write.

    Raises:
        GraphError: torch cannot export it.
    """
    import torch

    script = isinstance(opened.module, torch.jit.ScriptModule)
    module = opened.module if script else one_output(opened.module, output)
    position = output if isinstance(output, int) else 0
    names = [f"further_{index}" for index in range(position)] if script else []
    axes = {port: {0: "batch"} for port in (INPUT, OUTPUT)} if spec.dynamic_batch else None
    trace_to_onnx(
        module,
        torch.from_numpy(sample),
        path,
        opset=spec.opset,
        input_name=INPUT,
        output_names=[*names, OUTPUT],
        dynamic_axes=axes,
    )


def one_output(module: torch.nn.Module, output: str | int | None) -> torch.nn.Module:
    """A module that returns the one output that is used, and cannot be set to train."""
    import torch

    class OneOutput(torch.nn.Module):
        """Archives of torch.export do not have a train mode, and refuse to be set to eval."""

        def __init__(self, inner: torch.nn.Module):
            super().__init__()
            self.inner = inner

        def train(self, mode: bool = True) -> OneOutput:
            return self

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return choose(self.inner(x), output)

    return OneOutput(module)
