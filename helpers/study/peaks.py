"""Measures what this machine can do at best: multiply-accumulates of large layers, and bytes to and from memory."""

from __future__ import annotations

import itertools
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from helpers.devices import Device, open_device
from helpers.params.targets import Precision

_OPSET = 13
# (C, H, W) of a convolution that keeps its size, and the side of a product of two square matrices.
_CONV, _MATRIX = (512, 48, 48), 1024
_REPEATS = 3  # of a layer in a round: one call of milliseconds is easily interrupted
_STREAM_VALUES = 2**25  # three arrays of 128 MB are larger than the caches


@dataclass(frozen=True)
class Peaks:
    """The best rates that were measured.

    Attributes:
        macs_per_second: of the fastest large layer, in the run's precision.
        bytes_per_second: read and written by the sum of two arrays that do not fit the caches.
        layer: which layer was fastest.
    """

    macs_per_second: float
    bytes_per_second: float
    layer: str

    def seconds(self, macs: int, moved_bytes: int) -> float:
        """The least time for this work: the roofline.

        >>> Peaks(macs_per_second=100e9, bytes_per_second=10e9, layer="").seconds(int(50e9), int(1e9))
        0.5
        """
        return max(macs / self.macs_per_second, moved_bytes / self.bytes_per_second)


class _Opened(NamedTuple):
    """A large layer: its device, its feeds and its multiply-accumulates."""

    device: Device
    feeds: dict[str, np.ndarray]
    macs: int


class PeakMeter:
    """Large layers on OpenVINO, and a stream through memory, run once per round.

    OpenVINO's kernels come closest to what the processor can do, so they are the peak for every runtime on it.

    Args:
        precision: in which the layers compute.
    """

    def __init__(self, precision: Precision):
        self._devices: dict[str, _Opened] = {}
        with tempfile.TemporaryDirectory(prefix="peaks-") as folder:
            for name, (model, macs) in _layers(precision).items():
                path = Path(folder) / f"{name}.onnx"
                onnx.save(model, str(path))
                device = open_device(path, "cpu", precision=precision, max_in_flight=1)
                shape = [axis or 1 for axis in device.inputs[0].shape]
                self._devices[name] = _Opened(device, {device.inputs[0].name: np.ones(shape, np.float32)}, macs)
        self._threads = len(os.sched_getaffinity(0))
        self._arrays = tuple(np.ones(_STREAM_VALUES, np.float32) for _ in range(3))
        self._best: dict[str, float] = {}
        self._best_stream = 0.0

    def __enter__(self) -> PeakMeter:
        return self

    def __exit__(self, *_: object) -> None:
        for opened in self._devices.values():
            opened.device.close()

    def measure_once(self) -> None:
        """Runs every layer and the stream once; only the best of all rounds counts."""
        for name, (device, feeds, macs) in self._devices.items():
            for _ in range(_REPEATS):
                self._best[name] = max(self._best.get(name, 0.0), macs / _timed(partial(device.infer, feeds)))
        moved = sum(array.nbytes for array in self._arrays)
        self._best_stream = max(self._best_stream, moved / _timed(self._stream))

    def peaks(self) -> Peaks:
        """The best rates so far."""
        layer = max(self._best, key=lambda name: self._best[name])
        return Peaks(self._best[layer], self._best_stream, layer)

    def _stream(self) -> None:
        edges = np.linspace(0, _STREAM_VALUES, self._threads + 1).astype(int)
        parts = [slice(first, last) for first, last in itertools.pairwise(edges)]
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(self._add, parts))

    def _add(self, part: slice) -> None:
        left, right, total = self._arrays
        np.add(left[part], right[part], out=total[part])


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _layers(precision: Precision) -> dict[str, tuple[onnx.ModelProto, int]]:
    """Name -> graph and multiply-accumulates of one large layer; int8 layers are between quantised tensors."""
    channels, *size = _CONV
    conv_weight, matrix = (channels, channels, 3, 3), (_MATRIX, _MATRIX)
    is_int8 = precision == "int8"
    conv = _layer("Conv", (1, *_CONV), conv_weight, is_int8, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return {
        "convolution": (conv, math.prod(conv_weight) * math.prod(size)),
        "matrix product": (_layer("MatMul", matrix, matrix, is_int8), _MATRIX**3),
    }


def _layer(
    op: str, shape: Sequence[int], weight_shape: Sequence[int], is_int8: bool, **attributes: Any
) -> onnx.ModelProto:
    nodes, source, weight = [], "image", "weight"
    scale = numpy_helper.from_array(np.array(0.05, np.float32), "scale")
    constants = [scale, numpy_helper.from_array(np.array(0, np.uint8), "zero")]
    if is_int8:
        constants += [
            numpy_helper.from_array(np.array(0, np.int8), "weight_zero"),
            numpy_helper.from_array(np.ones(weight_shape, np.int8), "stored"),
        ]
        nodes = [
            helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["quantised"]),
            helper.make_node("DequantizeLinear", ["quantised", "scale", "zero"], ["source"]),
            helper.make_node("DequantizeLinear", ["stored", "scale", "weight_zero"], ["weight"]),
        ]
        source = "source"
    else:
        constants.append(numpy_helper.from_array(np.full(weight_shape, 0.01, np.float32), "weight"))
    nodes.append(helper.make_node(op, [source, weight], ["scores"], op, **attributes))
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, axes)
        for name, axes in (("image", shape), ("scores", None))
    ]
    graph = helper.make_graph(nodes, "peak", ports[:1], ports[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
