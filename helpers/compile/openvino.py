"""Converts an ONNX graph to OpenVINO's own files."""

from __future__ import annotations

from pathlib import Path

from helpers.compile.job import CompiledModel, CompileJob, Compiler, Report
from helpers.errors import CompileError
from helpers.params.targets import Target
from helpers.run.environment import package_version


class OpenVinoCompiler(Compiler):
    """OpenVINO's converter."""

    runtime = "openvino"

    def identity(self, target: Target) -> dict[str, object] | None:
        """OpenVINO's version."""
        version = package_version("openvino")
        return {"openvino": version} if version else None

    def compile(self, job: CompileJob, graph: Path, output: Path, report: Report) -> CompiledModel:
        """Writes `<output>.xml` and `<output>.bin`."""
        path = compile_openvino(graph, output)
        facts = {"runs in": f"{job.precision}, chosen when the device opens it"}
        return CompiledModel((path, path.with_suffix(".bin")), facts=facts)


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
