"""ONNX Runtime opens the graph itself; int8 and float16 weights are written into it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from helpers.compile.job import CompiledModel, CompileJob, Compiler, Report
from helpers.compile.quantize import describe_quantized, layers_to_keep, quantize_onnxruntime
from helpers.params.targets import Target
from helpers.run.environment import package_version

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def store_weights_in_f16(graph: Path, output: Path) -> Path:
    """Writes `<output>.onnx`, whose layers' weights are float16 initializers behind a Cast to float32.

    A weight that float16 cannot hold (beyond ±65504) stays float32.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(graph))
    wanted = {name for node in model.graph.node if node.op_type in _LAYERS for name in node.input[1:2]}
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.name not in wanted or values.dtype != np.float32:
            continue
        if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            continue
        stored = f"{tensor.name}_f16"
        widen = helper.make_node("Cast", [stored], [tensor.name], f"{tensor.name}_widen", to=onnx.TensorProto.FLOAT)
        casts.append(widen)
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(model, full_check=True)
    path = output.with_suffix(".onnx")
    onnx.save(model, str(path))
    return path


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
            inputs |= {"calibration": dict(job.sample_inputs()), "keep": job.params.fp32_layers}
        return inputs

    def compile(self, job: CompileJob, graph: Path, output: Path, report: Report) -> CompiledModel:
        """Writes `<output>.onnx`."""
        if job.precision == "int8":
            keep = layers_to_keep(graph, job.params.fp32_layers)
            path = quantize_onnxruntime(graph, job.samples(), output, keep)
            return CompiledModel((path,), facts=describe_quantized(job, graph, keep))
        if job.precision == "f16_weights":
            return CompiledModel((store_weights_in_f16(graph, output),))
        path = output.with_suffix(".onnx")
        shutil.copyfile(graph, path)
        return CompiledModel((path,))
