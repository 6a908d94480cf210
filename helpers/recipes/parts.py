"""Parts that several recipes share: PyTorch networks, volumes and photographs with their masks, Dice per label."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.data.case import Case
from helpers.data.case_volumes import read_mask_volume
from helpers.data.truth import whole_labels
from helpers.data.volume import Volume, write_volume
from helpers.errors import DataError
from helpers.graph.spec import GraphSpec
from helpers.inference.budget import check_memory_of_network
from helpers.params.paths import WEIGHTS_FOLDER, find_input
from helpers.recipes.base import CaseSource, LoadedModel, ModelSource, P
from helpers.run.result import Check

if TYPE_CHECKING:
    import onnx
    import torch

    from helpers.networks.checkpoint import LoadReport
    from helpers.networks.facts import CheckpointFacts

# In less time for the source's own score, nothing is run in torch: loading the network alone may exceed it.
SECONDS_FOR_TORCH = 10.0


@dataclass(frozen=True)
class TorchModel(ModelSource[P]):
    """A PyTorch network with a checkpoint: the shipped demo weights or the user's file.

    Attributes:
        name: of the recipe.
    """

    name: str

    @property
    def demo_weights(self) -> Path:
        """The file that `checkpoint: demo` means."""
        return WEIGHTS_FOLDER / f"{self.name}_demo.safetensors"

    @abstractmethod
    def build_for_state(self, state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        """The network whose widths fit a state dict (the demo weights are narrower than the official ones)."""

    def adapt_state(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A state dict in the names that the network uses; for projects that renamed theirs between versions."""
        return dict(state)

    def wrap_for_export(self, network: torch.nn.Module, params: P) -> torch.nn.Module:
        """The network as it is exported: unchanged, or with layers that the source keeps in its graph (an ArgMax)."""
        return network

    def checkpoint_paths(self, params: P) -> tuple[Path, ...]:
        """The one checkpoint file."""
        if params.checkpoint == "demo":
            return (self.demo_weights,)
        return (find_input(params.checkpoint, parameter="checkpoint"),)

    def load_file(self, path: Path, key: str | None = None) -> tuple[torch.nn.Module, LoadReport]:
        """The network that one checkpoint fits, loaded strictly.

        Args:
            path: the checkpoint.
            key: where the weights are in the file; None: in the usual places.

        Raises:
            CheckpointError: a key is missing, unexpected or has another shape; it is named.
        """
        from helpers.networks.checkpoint import load_checkpoint, load_state_dict

        network = self.build_for_state(self.adapt_state(load_state_dict(path, key)[0]))
        return network.eval(), load_checkpoint(network, path, self.adapt_state, key)

    def load_trained(self, params: P) -> tuple[torch.nn.Module, LoadReport]:
        """The network of a run with its checkpoint loaded strictly.

        Raises:
            CheckpointError: as `load_file`.
        """
        return self.load_file(self.checkpoint_paths(params)[0], params.checkpoint_key or None)

    def cache_key_extras(self, params: P) -> dict[str, object]:
        """Where the weights are in the file."""
        return {"checkpoint_key": params.checkpoint_key} if params.checkpoint_key else {}

    def facts(self, params: P) -> CheckpointFacts:
        """Shapes, class names and mask values of the run's checkpoint."""
        from helpers.networks.facts import read_facts

        return read_facts(self.checkpoint_paths(params)[0], params.checkpoint_key or None)

    def load_for_export(self, params: P) -> torch.nn.Module:
        """The trained network with the layers that the graph adds to it."""
        network, _ = self.load_trained(params)
        return self.wrap_for_export(network, params).eval()

    def load(self, params: P) -> LoadedTorchModel:
        """The trained network, as it is and as it is exported."""
        network, report = self.load_trained(params)
        return LoadedTorchModel(network, self.wrap_for_export(network, params).eval(), report)

    def load_untrained(self, params: P) -> torch.nn.Module:
        """The exported network of a run with fresh random weights of a fixed seed."""
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(0)
            network, _ = self.load_trained(params)
            for module in network.modules():
                reset = getattr(module, "reset_parameters", None)
                if callable(reset):
                    reset()
        return self.wrap_for_export(network, params).eval()


@dataclass(frozen=True)
class LoadedTorchModel(LoadedModel):
    """A trained network, with and without the layers that the graph adds."""

    runs_in = "torch"

    network: torch.nn.Module
    exported: torch.nn.Module
    report: LoadReport

    @property
    def check(self) -> Check:
        """How many tensors were loaded, and how they were wrapped."""
        return Check("checkpoint loaded strictly", True, self.report.figure)

    def export(self, spec: GraphSpec, path: Path) -> onnx.ModelProto:
        """Exports the network with PyTorch's exporter.

        Raises:
            ResourceError: its layers cannot fit in memory.
        """
        from helpers.graph.export import export_network
        from helpers.inference.on_torch import largest_layer_bytes

        shape = spec.batch_shape(1 if spec.dynamic_batch else spec.batch_size)
        check_memory_of_network(largest_layer_bytes(self.exported, shape), shape)
        return export_network(self.exported, spec, path)

    def export_and_run(self, spec: GraphSpec, path: Path, sample: np.ndarray) -> tuple[onnx.ModelProto, np.ndarray]:
        """Exports the network with PyTorch's exporter, which runs it on the sample."""
        from helpers.graph.export import trace_network

        model, output = trace_network(self.exported, spec, path, sample)
        return model, run_network(self.network, sample) if np.issubdtype(output.dtype, np.integer) else output

    def output(self, batch: np.ndarray) -> np.ndarray:
        """The exported network's output."""
        return run_network(self.exported, batch)

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """The exported network's output, or the trained network's if the exported one ends in an ArgMax."""
        output = self.output(batch)
        return run_network(self.network, batch) if np.issubdtype(output.dtype, np.integer) else output


def run_network(network: torch.nn.Module, batch: np.ndarray) -> np.ndarray:
    """The (first) output of a network in eval mode for a batch (N, C, ...)."""
    import torch

    with torch.inference_mode():
        output = network.eval()(torch.from_numpy(batch))
    return (output[0] if isinstance(output, (tuple, list)) else output).numpy()


class VolumeCases(CaseSource[P]):
    """Volumes, whose masks are NIfTI files on the case's own grid."""

    def write_mask(self, classes: np.ndarray, case: Case, path: Path) -> None:
        """NIfTI on the case's grid."""
        write_volume(path, Volume(classes[None], case.require_geometry()))

    def read_mask(self, path: Path, case: Case) -> np.ndarray:
        """Class indices of a mask on the case's grid."""
        return read_mask_on_grid(path, case)


def read_mask_on_grid(path: Path, case: Case) -> np.ndarray:
    """The values (Z, Y, X) of a mask file, integers; an editor's 0.9999 is rounded.

    Raises:
        DataError: the mask is not on the case's grid, or holds values that are not labels.
    """
    mask = read_mask_volume(path, case.require_geometry())
    differences = mask.geometry.differences_from(case.require_geometry())
    if differences:
        raise DataError(f"{path.name} is on another grid than its case", received="; ".join(differences))
    return whole_labels(path, mask.array[0])


class PhotographCases(CaseSource[P]):
    """Photographs, whose masks are PNG files of the same size."""

    def mask_suffix(self, params: P) -> str:
        """PNG."""
        return ".png"

    @abstractmethod
    def read_mask_file(self, path: Path, case: Case) -> np.ndarray:
        """Class indices (H, W) of a case's mask file."""

    def read_mask(self, path: Path, case: Case) -> np.ndarray:
        """Class indices of a mask of the photograph's size."""
        mask = self.read_mask_file(path, case)
        if mask.shape != case.image.shape[1:]:
            raise DataError(f"{path.name} has another size", received=mask.shape, expected=case.image.shape[1:])
        return mask
