"""Calls PyTorch's tracing exporter, and turns what it prints when it refuses a network into one line."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import CookbookError, GraphError

if TYPE_CHECKING:
    import torch

_LOG = logging.getLogger("cookbook")
_STDOUT = 1
_OPERATOR = re.compile(r"operator '?(?:aten::)?(\w+)'?")
_NEEDED_OPSET = re.compile(r"added in version (\d+)")


def trace_to_onnx(
    module: torch.nn.Module,
    sample: torch.Tensor,
    path: Path,
    *,
    opset: int,
    input_name: str,
    output_names: Sequence[str],
    dynamic_axes: dict[str, dict[int, str]] | None,
) -> None:
    """Exports a module by tracing (`dynamo=False`), the only exporter of torch 2.13 that writes opset 11.

    Args:
        module: to export, in the mode in which it is to run.
        sample: a batch (N, C, ...).
        path: the file to write.
        opset: the operator set.
        input_name: of the graph's only input.
        output_names: of the graph's outputs.
        dynamic_axes: the axes of any length by tensor name, or None.

    Raises:
        GraphError: the exporter cannot express an op, or the module fails on the sample; the op and the module that
            uses it are named if the exporter says so.
    """
    names = {"input_names": [input_name], "output_names": list(output_names), "dynamic_axes": dynamic_axes}
    with _printed_text() as printed:
        cause = _try_export(module, sample, path, opset_version=opset, **names)
    if cause is not None:
        _LOG.debug("torch refuses the export: %s\n%s", cause, "".join(printed))
        raise _refusal(cause, "".join(printed), opset) from None


def _try_export(module: torch.nn.Module, sample: torch.Tensor, path: Path, **options: Any) -> Exception | None:
    """Exports a module, and returns the error if the exporter refuses it."""
    import torch

    with warnings.catch_warnings(), torch.no_grad():
        # Two harmless warnings: the tracer is deprecated, and InstanceNorm "is set to train".
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(module, (sample,), str(path), dynamo=False, **options)
        except CookbookError:
            raise
        except Exception as error:  # the exporter raises what the module and its own converters raise
            return error
    return None


def _refusal(error: Exception, printed: str, opset: int) -> GraphError:
    text = " ".join(str(error).split())
    named = _OPERATOR.search(text)
    if named is None:
        return GraphError(
            "PyTorch cannot trace the network",
            received=f"{type(error).__name__}: {text[:300]}",
            remedy="Run it on a batch of this size in PyTorch first; code that depends on values cannot be traced.",
        )
    place = _module_of(named.group(1), printed)
    needed = _NEEDED_OPSET.search(text)
    remedy = "Replace it by ops that ONNX has, or export the network yourself."
    if needed:
        remedy = f"Set opset: {needed.group(1)}, if the target reads it."
    return GraphError(
        f"PyTorch cannot export the op {named.group(1)} to ONNX",
        received=f"{place}opset {opset}",
        expected=f"opset {needed.group(1)} or later" if needed else None,
        remedy=remedy,
    )


def _module_of(op: str, printed: str) -> str:
    """The module that uses an op, from the graph that the exporter prints: the scope of the op's line.

    >>> _module_of("relu", "%2 : Float(1) = aten::relu(%1), scope: a.Net::/torch.nn.Sequential::up/b.Act::up.1 # x")
    'in the module up.1 (Act), '
    """
    found = re.search(rf"aten::{op}\w*\(.*?scope: (\S+)", printed)
    if found is None:
        return ""
    kind, _, name = found.group(1).split("/")[-1].partition("::")
    name = name.removeprefix("inner.")  # of the wrappers that choose one output
    return f"in the module {name or 'itself'} ({kind.split('.')[-1]}), "


@contextlib.contextmanager
def _printed_text() -> Iterator[list[str]]:
    """Collects what native code prints to standard output meanwhile: the exporter prints its graph there."""
    collected: list[str] = []
    sys.stdout.flush()
    with tempfile.TemporaryFile("w+b") as stream:
        kept = os.dup(_STDOUT)
        try:
            os.dup2(stream.fileno(), _STDOUT)
            try:
                yield collected
            finally:
                sys.stdout.flush()
                os.dup2(kept, _STDOUT)
                stream.seek(0)
                collected.append(stream.read().decode(errors="replace"))
        finally:
            os.close(kept)
