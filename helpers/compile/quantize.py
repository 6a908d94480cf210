"""int8 after training: calibrated with real windows, weights per channel, norms and named layers kept precise."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.compile.job import CompileJob
from helpers.compile.openvino_names import convert_with_names
from helpers.errors import CompileError

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Per-channel QuantizeLinear came with this operator set.
_LEAST_OPSET = 13


@dataclass(frozen=True)
class Attempt:
    """One quantised model of a search: the layers kept precise, and how much its score fell."""

    kept: tuple[str, ...]
    change: float


def quantizable_layers(graph: Path) -> list[str]:
    """Names of the layers that int8 can run, in the graph's order.

    Raises:
        CompileError: a layer has no name, so that it could not be kept precise.
    """
    import onnx

    layers = [node for node in onnx.load(str(graph), load_external_data=False).graph.node if node.op_type in _LAYERS]
    if not all(node.name for node in layers):
        raise CompileError("a layer of the graph has no name", remedy="Export and simplify the graph anew.")
    return [node.name for node in layers]


def layers_to_keep(graph: Path, more: Sequence[str] = ()) -> list[str]:
    """The first and the last layer, which see the image and the scores themselves, and those named.

    Raises:
        CompileError: a named layer is not in the graph.
    """
    layers = quantizable_layers(graph)
    for name in more:
        if name not in layers:
            expected = f"one of {len(layers)} layers such as {layers[0]}"
            raise CompileError("no such layer to keep precise", received=name, expected=expected)
    return list(dict.fromkeys([*layers[:1], *layers[-1:], *more]))


def describe_quantized(job: CompileJob, graph: Path, keep: Sequence[str]) -> dict[str, object]:
    """What a reader should know of a quantised model."""
    cases, layers = job.sample_inputs()["cases"], quantizable_layers(graph)
    return {
        "runs in": f"int8 with per-channel weights; f32 in the norms and in {len(keep)} of {len(layers)} layers",
        "kept precise": ", ".join(keep),
        "calibrated with": f"windows of {len(cases)} cases: {', '.join(cases)}",
    }


def quantize_openvino(graph: Path, windows: np.ndarray, output: Path, keep: Sequence[str]) -> Path:
    """Writes `<output>.xml` and `.bin` by NNCF's post-training quantization; what stays precise runs in f32.

    Args:
        graph: an ONNX file with its InstanceNormalizations whole; OpenVINO runs them as one f32 op each.
        windows: (N, C, *window) float32; all of them are shown.
        output: the path without its suffix.
        keep: names of layers that stay f32.

    Raises:
        CompileError: NNCF is not installed, or refuses the graph.
    """
    import openvino

    try:
        import nncf
    except ImportError as error:
        remedy = "`pip install -r requirements.txt` brings NNCF."
        raise CompileError("int8 for OpenVINO needs NNCF", received=str(error), remedy=remedy) from None
    logging.getLogger("nncf").setLevel(logging.ERROR)
    path = output.with_suffix(".xml")
    try:
        with _without_progress_bars():
            model = nncf.quantize(
                convert_with_names(graph),
                nncf.Dataset([window[None] for window in windows]),
                preset=nncf.QuantizationPreset.MIXED,  # leaky activations are not symmetric
                target_device=nncf.TargetDevice.CPU,
                subset_size=len(windows),
                ignored_scope=nncf.IgnoredScope(names=list(keep), types=["MVN"], validate=False),
            )
        openvino.save_model(model, path, compress_to_fp16=False)
    except Exception as error:
        raise CompileError("NNCF refuses the graph", received=_last_line(error)) from error
    return path


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    """NNCF draws through rich, which makes widgets in a notebook; a headless run must have none."""
    import rich

    with contextlib.redirect_stdout(io.StringIO()):
        rich.reconfigure(force_jupyter=False)
        try:
            yield
        finally:
            rich.reconfigure()


def quantize_onnxruntime(graph: Path, windows: np.ndarray, output: Path, keep: Sequence[str]) -> Path:
    """Writes `<output>.onnx` with QuantizeLinear and DequantizeLinear around every layer but those kept.

    Arguments and errors as `quantize_openvino`; the operator set is raised to 13 where it is lower.
    """
    import onnx
    from onnxruntime import quantization

    path = output.with_suffix(".onnx")
    raised = output.with_suffix(".raised.onnx")
    try:
        model = onnx.load(str(graph))
        if model.opset_import[0].version < _LEAST_OPSET:
            model = onnx.version_converter.convert_version(model, _LEAST_OPSET)
        onnx.save(model, str(raised))
        quantization.quantize_static(
            str(raised),
            str(path),
            _Reader(model.graph.input[0].name, windows),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_LAYERS),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=list(keep),
        )
    except Exception as error:
        raise CompileError("ONNX Runtime's quantizer refuses the graph", received=_last_line(error)) from error
    finally:
        raised.unlink(missing_ok=True)
    return path


def search_kept_layers(
    measure: Callable[[tuple[str, ...]], float],
    always: Sequence[str],
    worst_first: Sequence[str],
    limit: float,
    most: int,
) -> list[Attempt]:
    """Puts the most harmful layers back to higher precision, 1, 2, 4, ... more each time, until the score holds.

    Args:
        measure: quantises with these layers kept precise and answers how much the score changed, signed.
        always: layers that stay precise in every attempt.
        worst_first: the other layers, the most harmful first.
        limit: largest change that is accepted.
        most: attempts at most.

    Returns:
        The attempts in order. The best one, the smallest change, may be any of them.
    """
    attempts: list[Attempt] = []
    for count in _growing_counts(len(worst_first), most):
        kept = (*always, *worst_first[:count])
        attempts.append(Attempt(kept, measure(kept)))
        if abs(attempts[-1].change) <= limit:
            break
    return attempts


def _growing_counts(available: int, most: int) -> Iterator[int]:
    counts = [0, *(2**power - 1 for power in range(1, 64) if 2**power - 1 < available), available]
    yield from list(dict.fromkeys(counts))[:most]


class _Reader:
    """Hands windows to ONNX Runtime's calibrator one by one."""

    def __init__(self, name: str, windows: np.ndarray):
        self._feeds = iter([{name: window[None]} for window in windows])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
