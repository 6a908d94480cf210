"""Shared by the int8 compilers: which layers are quantised and which stay in float32, and a description."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from helpers.compile.base import CompileJob
from helpers.errors import CompileError

# The ops whose weights are quantised or stored in float16.
LAYER_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def quantizable_layers(graph: Path) -> list[str]:
    """The names of the layers that can run in int8, in the graph's order.

    Raises:
        CompileError: a layer has no name, so it could not be excluded from quantisation.
    """
    import onnx

    nodes = onnx.load(str(graph), load_external_data=False).graph.node
    layers = [node for node in nodes if node.op_type in LAYER_OPS]
    if not all(node.name for node in layers):
        raise CompileError("a layer of the graph has no name", remedy="Export and simplify the graph again.")
    return [node.name for node in layers]


def select_fp32_layers(graph: Path, extra: Sequence[str] = ()) -> list[str]:
    """The layers kept in float32: the first (reads the image), the last (writes the scores), and the extra ones.

    Raises:
        CompileError: an extra layer is not in the graph.
    """
    layers = quantizable_layers(graph)
    for name in extra:
        if name not in layers:
            expected = f"one of {len(layers)} layers such as {layers[0]}"
            raise CompileError("fp32_layers names an unknown layer", received=name, expected=expected)
    return list(dict.fromkeys([*layers[:1], *layers[-1:], *extra]))


def describe_int8(job: CompileJob, graph: Path, fp32_layers: Sequence[str]) -> dict[str, object]:
    """Describes an int8 model for the compile stage's table."""
    total = len(quantizable_layers(graph))
    return {
        "precision": f"int8 with per-channel weights; norms and {len(fp32_layers)} of {total} layers in float32",
        "layers kept in float32": ", ".join(fp32_layers),
        "calibration": describe_calibration(job),
    }


def describe_calibration(job: CompileJob) -> str:
    """Lists the cases that the calibration windows are cut from, in one line."""
    cases = job.calibration_cases()
    return f"windows of {len(cases)} cases: {', '.join(cases)}"
