"""What the int8 compilers share: which layers are quantised, which stay in float32, and their description."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from helpers.compile.base import CompileJob
from helpers.errors import CompileError

# The ops whose weights are quantised or stored in float16.
LAYER_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def quantizable_layers(graph: Path) -> list[str]:
    """Names of the layers that int8 can run, in the graph's order.

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
    """The layers kept in float32: the first and the last, which see the image and the scores, and the extra ones.

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
    """Facts on an int8 model for the compile stage's table."""
    total = len(quantizable_layers(graph))
    return {
        "precision": f"int8 with per-channel weights; norms and {len(fp32_layers)} of {total} layers in float32",
        "layers kept in float32": ", ".join(fp32_layers),
        "calibration": describe_calibration(job),
    }


def describe_calibration(job: CompileJob) -> str:
    """The cases whose windows calibrate a model, as one line."""
    cases = job.calibration_cases()
    return f"windows of {len(cases)} cases: {', '.join(cases)}"


def last_line(error: Exception) -> str:
    """The last line of a message, which in a converter's long report names the cause."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
