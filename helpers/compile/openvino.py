"""OpenVINO's converter and, for int8, NNCF's post-training quantisation."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.compile.base import CompiledModel, CompileJob, Compiler, Report
from helpers.compile.quantize import LAYER_OPS, describe_int8, select_fp32_layers
from helpers.errors import CompileError, last_line
from helpers.params.targets import Target
from helpers.run.environment import package_version

if TYPE_CHECKING:
    import openvino

# Names that OpenVINO generates end in a process-wide counter.
_GENERATED_NAME = re.compile(r"^[A-Za-z]+_\d+$")
_PRODUCTS = ("Convolution", "ConvolutionBackpropData", "GroupConvolution", "GroupConvolutionBackpropData", "MatMul")


class OpenVinoCompiler(Compiler):
    """OpenVINO's converter."""

    runtime = "openvino"

    def identity(self, target: Target) -> dict[str, object] | None:
        """OpenVINO's version."""
        version = package_version("openvino")
        return {"openvino": version} if version else None

    def inputs(self, job: CompileJob) -> dict[str, object]:
        """For int8 the calibration and the layers kept in float32; else whether weights are stored in float16."""
        if job.precision == "int8":
            keep = job.params.fp32_layers
            return {"calibration": dict(job.calibration.inputs()), "keep": keep, "nncf": package_version("nncf")}
        return {"f16_weights": job.precision == "f16_weights"}

    def compile(self, job: CompileJob, graph: Path, output: Path, report: Report) -> CompiledModel:
        """Writes `<output>.xml` and `<output>.bin`."""
        if job.precision == "int8":
            keep = select_fp32_layers(graph, job.params.fp32_layers)
            path = quantize_openvino(graph, job.calibration.windows(), output, keep)
            facts = describe_int8(job, graph, keep)
        else:
            path = compile_openvino(graph, output, f16_weights=job.precision == "f16_weights")
            facts = {"precision": f"{job.precision}, chosen when the device opens the model"}
        return CompiledModel((path, path.with_suffix(".bin")), facts=facts)


def compile_openvino(graph: Path, output: Path, *, f16_weights: bool = False) -> Path:
    """Writes `<output>.xml` and `<output>.bin` with float32 weights, or with weights rounded to float16.

    The precision of the computation is chosen when the device opens the file, so one file serves f32 and bf16.

    Raises:
        CompileError: OpenVINO rejects the graph.
    """
    import openvino

    try:
        model = _convert(graph)
    except Exception as error:
        raise CompileError("OpenVINO rejects the graph", received=last_line(error)) from error
    path = output.with_suffix(".xml")
    openvino.save_model(model, path, compress_to_fp16=f16_weights)
    return path


def quantize_openvino(graph: Path, windows: np.ndarray, output: Path, fp32_layers: Sequence[str]) -> Path:
    """Writes `<output>.xml` and `<output>.bin` in int8, weights per channel.

    Args:
        graph: an ONNX file whose InstanceNormalizations are not split; OpenVINO runs each as one float32 op.
        windows: (N, C, *window) float32; all of them are used for calibration.
        output: the path without its suffix.
        fp32_layers: names of the layers kept in float32.

    Raises:
        CompileError: NNCF is not installed, or rejects the graph.
    """
    import openvino

    try:
        import nncf
    except ImportError as error:
        remedy = "Install it with `pip install -r requirements.txt`."
        raise CompileError("int8 for OpenVINO needs NNCF", received=str(error), remedy=remedy) from None
    logging.getLogger("nncf").setLevel(logging.ERROR)
    path = output.with_suffix(".xml")
    try:
        with _without_progress_bars():
            model = nncf.quantize(
                _convert(graph),
                nncf.Dataset([window[None] for window in windows]),
                preset=nncf.QuantizationPreset.MIXED,  # leaky activations are not symmetric
                target_device=nncf.TargetDevice.CPU,
                subset_size=len(windows),
                ignored_scope=nncf.IgnoredScope(names=list(fp32_layers), types=["MVN"], validate=False),
            )
        openvino.save_model(model, path, compress_to_fp16=False)
    except Exception as error:
        raise CompileError("NNCF rejects the graph", received=last_line(error)) from error
    return path


def _convert(graph: Path) -> openvino.Model:
    """Converts an ONNX file so that layers keep their names and every other name is reproducible.

    OpenVINO splits a layer with a bias into two ops and gives the layer's name to the addition; here the product gets
    the name, by which the layer can then be found. Generated names are numbered by their position in the graph.
    """
    import onnx
    import openvino

    with _without_telemetry():
        model = openvino.convert_model(graph)
    ops = model.get_ordered_ops()
    for index, op in enumerate(ops):
        if _GENERATED_NAME.match(op.get_friendly_name()):
            op.set_friendly_name(f"{op.get_type_name()}_{index}")
    producers = {name: op for op in ops for port in op.outputs() for name in port.get_names()}
    for node in onnx.load(str(graph), load_external_data=False).graph.node:
        product = _find_product(producers.get(node.output[0])) if node.op_type in LAYER_OPS else None
        if product is not None and product.get_friendly_name() != node.name:
            producers[node.output[0]].set_friendly_name(f"{node.name}/biased")
            product.set_friendly_name(node.name)
    return model


def _find_product(op: openvino.Node | None) -> openvino.Node | None:
    """Finds the convolution or matrix product whose bias an op adds."""
    while op is not None and op.get_type_name() not in _PRODUCTS:
        if op.get_type_name() not in ("Add", "Reshape", "Result") or not op.inputs():
            return None
        op = op.input_value(0).get_node()
    return op


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """OpenVINO's converter reports each use to a server, from a process that prints its traceback at Ctrl-C.

    It has one switch that needs no file in the user's home folder: it does not report from a CI job.
    """
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        del os.environ["CI"]
        if before is not None:
            os.environ["CI"] = before


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Silences NNCF's progress bars, which rich draws as widgets in a notebook, even in a headless run."""
    import rich

    with contextlib.redirect_stdout(io.StringIO()):
        rich.reconfigure(force_jupyter=False)
        try:
            yield
        finally:
            rich.reconfigure()
