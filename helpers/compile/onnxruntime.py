"""Prepares the graph for ONNX Runtime: a plain copy, or a copy in int8 or with float16 weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.compile.base import CompiledModel, CompileJob, Compiler, Report
from helpers.compile.quantize import LAYER_OPS, describe_int8, select_fp32_layers
from helpers.errors import CompileError, last_line
from helpers.graph.read import constants_to_initializers, load_graph, names_in, new_name
from helpers.params.targets import Target
from helpers.run.environment import package_version

# The first operator set with per-channel QuantizeLinear.
_QUANTIZE_OPSET = 13


class OnnxRuntimeCompiler(Compiler):
    """Copies the graph, quantises it, or stores its weights in float16."""

    runtime = "onnxruntime"

    def identity(self, target: Target) -> dict[str, object] | None:
        """ONNX Runtime's version."""
        version = package_version("onnxruntime")
        return {"onnxruntime": version} if version else None

    def inputs(self, job: CompileJob) -> dict[str, object]:
        """The precision; for int8 also the calibration windows and the layers kept in float32."""
        inputs: dict[str, object] = {"precision": job.precision}
        if job.precision == "int8":
            inputs |= {"calibration": dict(job.calibration.inputs()), "keep": job.params.fp32_layers}
        return inputs

    def compile(self, job: CompileJob, graph: Path, output: Path, report: Report) -> CompiledModel:
        """Writes `<output>.onnx`."""
        if job.precision == "int8":
            keep = select_fp32_layers(graph, job.params.fp32_layers)
            path = quantize_onnxruntime(graph, job.calibration.windows(), output, keep)
            return CompiledModel((path,), facts=describe_int8(job, graph, keep))
        if job.precision == "f16_weights":
            return CompiledModel((store_weights_in_f16(graph, output),))
        path = output.with_suffix(".onnx")
        shutil.copyfile(graph, path)
        return CompiledModel((path,))


def store_weights_in_f16(graph: Path, output: Path) -> Path:
    """Writes `<output>.onnx` with the weights of its layers as float16 initializers, each cast back to float32.

    A weight that float16 cannot represent (beyond ±65504) stays float32.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = load_graph(graph)
    constants_to_initializers(model)
    taken = names_in(model)
    weights = {name for node in model.graph.node if node.op_type in LAYER_OPS for name in node.input[1:2]}
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.name not in weights or values.dtype != np.float32:
            continue
        if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            continue
        stored = new_name(f"{tensor.name}_f16", taken)
        name = new_name(f"{tensor.name}_widen", taken)
        widen = helper.make_node("Cast", [stored], [tensor.name], name, to=onnx.TensorProto.FLOAT)
        casts.append(widen)
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(model, full_check=True)
    path = output.with_suffix(".onnx")
    onnx.save(model, str(path))
    return path


def quantize_onnxruntime(graph: Path, windows: np.ndarray, output: Path, fp32_layers: Sequence[str]) -> Path:
    """Writes `<output>.onnx` in int8, with QuantizeLinear and DequantizeLinear around every quantised layer.

    An operator set below 13 is raised to 13, the first with weights per channel.

    Args:
        graph: the ONNX file.
        windows: (N, C, *window) float32; all of them are used for calibration.
        output: the path without its suffix.
        fp32_layers: names of the layers kept in float32.

    Raises:
        CompileError: the quantiser rejects the graph.
    """
    import onnx
    from onnxruntime import quantization

    path = output.with_suffix(".onnx")
    raised = output.with_suffix(".raised.onnx")
    try:
        model = onnx.load(str(graph))
        if model.opset_import[0].version < _QUANTIZE_OPSET:
            model = onnx.version_converter.convert_version(model, _QUANTIZE_OPSET)
        onnx.save(model, str(raised))
        quantization.quantize_static(
            str(raised),
            str(path),
            _CalibrationReader(model.graph.input[0].name, windows),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(LAYER_OPS),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=list(fp32_layers),
        )
    except Exception as error:
        raise CompileError("ONNX Runtime's quantiser rejects the graph", received=last_line(error)) from error
    finally:
        raised.unlink(missing_ok=True)
    return path


class _CalibrationReader:
    """Yields one window at a time, in the form that ONNX Runtime's calibrator expects."""

    def __init__(self, input_name: str, windows: np.ndarray):
        self._feeds = iter([{input_name: window[None]} for window in windows])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)
