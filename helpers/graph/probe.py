"""The random batches that every form of a graph is proven on, and the size of their windows.

A graph without a size of its own computes the same function at any window that its strides divide. Its weights, its
operators and its batch axis therefore show on a small window, at a fraction of the time and memory of the full one.
Whether a graph is of that kind is tried, never assumed: if it does not run on the small window, or its outputs differ
there, the full window decides.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from helpers.graph.read import load_graph, open_reference, set_shapes, tensor_shapes
from helpers.graph.spec import GraphSpec

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# A norm needs more than one voxel per axis where the network is coarsest.
_COARSEST = 2
# With fewer voxels than this factor saved, a second size is not worth its explanation.
_WORTH = 4

Answers = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Proof:
    """A comparison of two callables.

    Attributes:
        window: sides of the windows that were compared.
        batches: batch sizes.
        errors: the largest difference at each batch size.
    """

    window: tuple[int, ...]
    batches: tuple[int, ...]
    errors: tuple[float, ...]

    @property
    def largest(self) -> float:
        """The largest difference over all batch sizes."""
        return max(self.errors, default=0.0)

    @property
    def window_text(self) -> str:
        """The window as text, such as 32 × 32."""
        return " × ".join(map(str, self.window))


def full_window(spec: GraphSpec) -> tuple[int, ...]:
    """The sides of the graph's own window."""
    return spec.input_shape[1:]


def probe_windows(model: onnx.ModelProto, spec: GraphSpec) -> list[tuple[int, ...]]:
    """The windows to prove a graph on, in the order to try them: a small one if there is any, and the full one."""
    full = full_window(spec)
    strides = _strides(model, full)
    small = tuple(
        min(side, _COARSEST * stride) if side % stride == 0 else side
        for side, stride in zip(full, strides, strict=True)
    )
    return [small, full] if math.prod(small) * _WORTH <= math.prod(full) else [full]


def probe_batch(spec: GraphSpec, window: Sequence[int], batch: int) -> np.ndarray:
    """Standard normal noise (N, C, *window) float32; a smaller batch holds the first samples of a larger one."""
    shape = (batch, spec.input_shape[0], *window)
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


def probe_sample(spec: GraphSpec) -> np.ndarray:
    """Noise (N, C, *window) float32 of the full window, one sample repeated as often as a static batch needs."""
    sample = np.random.default_rng(0).standard_normal(spec.input_shape, dtype=np.float32)
    return np.repeat(sample[None], 1 if spec.dynamic_batch else spec.batch_size, axis=0)


def open_at(graph: onnx.ModelProto | Path, spec: GraphSpec, window: Sequence[int]) -> Answers:
    """The output of a graph on the CPU, as a function of batches (N, C, *window), for windows of another size too."""
    return session_call(session_at(graph, spec, window))


def session_call(session: InferenceSession) -> Answers:
    """The first output of a session with one input, as a function of batches."""
    source, target = session.get_inputs()[0].name, session.get_outputs()[0].name
    return lambda batch: session.run([target], {source: batch})[0]


def session_at(graph: onnx.ModelProto | Path, spec: GraphSpec, window: Sequence[int]) -> InferenceSession:
    """As `open_reference`, for windows of another size than the graph's own."""
    if tuple(window) == full_window(spec):
        return open_reference(graph)
    if not isinstance(graph, Path):
        return open_reference(resized(graph, window))
    with tempfile.TemporaryDirectory() as folder:
        model = load_graph(graph)
        resize(model, window)
        onnx.save(model, str(Path(folder) / "graph.onnx"))
        del model  # the session reads the weights from the file
        return open_reference(Path(folder) / "graph.onnx")


def resized(model: onnx.ModelProto, window: Sequence[int]) -> onnx.ModelProto:
    """A copy of a model for windows of another size, with the shapes that follow from it.

    Sizes that are written into the nodes stay, and make the copy fail or answer incorrectly.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    resize(copy, window)
    return copy


def resize(model: onnx.ModelProto, window: Sequence[int]) -> None:
    """As `resized`, in place, without a second copy of the weights."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in initializers:
            for dim, side in zip(value.type.tensor_type.shape.dim[2:], window, strict=True):
                dim.dim_value = side
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    set_shapes(model)


def prove_at(
    windows: Sequence[tuple[int, ...]],
    batches: Sequence[int],
    allowed: float,
    compare: Callable[[tuple[int, ...]], Iterator[float]],
) -> Proof:
    """The first window whose errors are all permitted, else the last one.

    Args:
        windows: as `probe_windows` gives them; on all but the last, any failure means that the next one decides.
        batches: batch sizes, in the order of the errors.
        allowed: the largest permitted error.
        compare: the error at each batch size, for one window.
    """
    for window in windows[:-1]:
        try:
            proof = Proof(window, tuple(batches), tuple(compare(window)))
        except Exception:  # noqa: S112 (whatever a network or a runtime raises for a window that it does not take)
            continue
        if proof.largest <= allowed:
            return proof
    return Proof(windows[-1], tuple(batches), tuple(compare(windows[-1])))


def _strides(model: onnx.ModelProto, full: Sequence[int]) -> list[int]:
    """How much coarser than the input the graph's coarsest tensor is, by spatial axis."""
    shapes = tensor_shapes(model)
    strides = [1] * len(full)
    for node in model.graph.node:
        shape = shapes.get(node.output[0], ()) if node.output else ()
        for axis, (side, size) in enumerate(zip(full, shape[2:], strict=False)):
            if len(shape) == len(full) + 2 and size:
                strides[axis] = max(strides[axis], math.ceil(side / size))
    return strides
