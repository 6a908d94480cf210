"""Converts an ONNX graph to OpenVINO's own files."""

from __future__ import annotations

from pathlib import Path

from helpers.compile.job import CompiledModel, CompileJob, Compiler, Report
from helpers.compile.openvino_names import convert_with_names
from helpers.compile.quantize import describe_quantized, layers_to_keep, quantize_openvino
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

    def inputs(self, job: CompileJob) -> dict[str, object]:
        """For int8 the calibration and the layers kept precise; else whether weights are stored in float16."""
        if job.precision == "int8":
            kept = job.params.fp32_layers
            return {"calibration": dict(job.sample_inputs()), "keep": kept, "nncf": package_version("nncf")}
        return {"f16_weights": job.precision == "f16_weights"}

    def compile(self, job: CompileJob, graph: Path, output: Path, report: Report) -> CompiledModel:
        """Writes `<output>.xml` and `<output>.bin`."""
        if job.precision == "int8":
            keep = layers_to_keep(graph, job.params.fp32_layers)
            path = quantize_openvino(graph, job.samples(), output, keep)
            facts = describe_quantized(job, graph, keep)
        else:
            path = compile_openvino(graph, output, f16_weights=job.precision == "f16_weights")
            facts = {"runs in": f"{job.precision}, chosen when the device opens it"}
        return CompiledModel((path, path.with_suffix(".bin")), facts=facts)


def compile_openvino(graph: Path, output: Path, *, f16_weights: bool = False) -> Path:
    """Writes `<output>.xml` and `<output>.bin` with float32 weights, or with weights rounded to float16.

    The precision that runs is chosen when the device opens the file, so one file serves f32 and bf16.

    Raises:
        CompileError: OpenVINO refuses the graph.
    """
    import openvino

    try:
        model = convert_with_names(graph)
    except Exception as error:
        raise CompileError("OpenVINO refuses the graph", received=str(error).splitlines()[-1]) from error
    path = output.with_suffix(".xml")
    openvino.save_model(model, path, compress_to_fp16=f16_weights)
    return path
