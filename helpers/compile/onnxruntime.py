"""ONNX Runtime opens the graph itself; int8 and float16 weights are written into it."""

from __future__ import annotations

import shutil
from pathlib import Path

from helpers.compile.job import CompiledModel, CompileJob, Compiler, Report
from helpers.compile.quantize import describe_quantized, layers_to_keep, quantize_onnxruntime
from helpers.compile.weights_f16 import store_weights_in_f16
from helpers.params.targets import Target
from helpers.run.environment import package_version


class OnnxRuntimeCompiler(Compiler):
    """Copies the graph, or quantises it."""

    runtime = "onnxruntime"

    def identity(self, target: Target) -> dict[str, object] | None:
        """ONNX Runtime's version."""
        version = package_version("onnxruntime")
        return {"onnxruntime": version} if version else None

    def inputs(self, job: CompileJob) -> dict[str, object]:
        """The precision; for int8 also the calibration and the layers kept precise."""
        inputs: dict[str, object] = {"precision": job.precision}
        if job.precision == "int8":
            inputs |= {"calibration": dict(job.sample_inputs()), "keep": job.params.keep_precise}
        return inputs

    def compile(self, job: CompileJob, graph: Path, output: Path, report: Report) -> CompiledModel:
        """Writes `<output>.onnx`."""
        if job.precision == "int8":
            keep = layers_to_keep(graph, job.params.keep_precise)
            path = quantize_onnxruntime(graph, job.samples(), output, keep)
            return CompiledModel((path,), facts=describe_quantized(job, graph, keep))
        if job.precision == "f16_weights":
            return CompiledModel((store_weights_in_f16(graph, output),))
        path = output.with_suffix(".onnx")
        shutil.copyfile(graph, path)
        return CompiledModel((path,))
