"""Converts an ONNX graph to OpenVINO's own files."""

from __future__ import annotations

from pathlib import Path

from helpers.errors import CompileError


def compile_openvino(graph: Path, output: Path) -> Path:
    """Writes `<output>.xml` and `<output>.bin` with float32 weights.

    The precision that runs is chosen when the device opens the file, so one file serves f32 and bf16.

    Raises:
        CompileError: OpenVINO refuses the graph.
    """
    import openvino

    try:
        model = openvino.convert_model(graph)
    except Exception as error:
        raise CompileError("OpenVINO refuses the graph", received=str(error).splitlines()[-1]) from error
    path = output.with_suffix(".xml")
    openvino.save_model(model, path, compress_to_fp16=False)
    return path
