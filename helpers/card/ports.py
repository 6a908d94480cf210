"""The ports of a model, and how its own form of input and scores becomes the one that every stage expects.

That form is one float32 input (N, C, ...) and one float32 output (N, channels, ...) of scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from onnx import helper


@dataclass(frozen=True)
class Port:
    """An input or output: its name, element type (a number of ONNX) and shape; an axis of any length is None."""

    name: str
    element: int
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        axes = "?" if self.shape is None else ", ".join("?" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name} ({axes}) {self.dtype}"

    @property
    def dtype(self) -> str:
        """The name of its element type in NumPy."""
        return str(helper.tensor_dtype_to_np_dtype(self.element))


@dataclass(frozen=True)
class PortForm:
    """How the ports of a file differ from those of the cookbook, and how one becomes the other.

    Attributes:
        input: of the file.
        output: of the file.
        scores: the tensor whose values are the scores: the output, or the input of a final ArgMax.
        spatial: number of spatial axes.
        channels_last: whether the file's input and output are (N, ..., C).
        scores_last: whether the classes are the last axis of the scores.
        batch_axis: of the output.
        class_numbers: number of classes, if the output has class numbers and no ArgMax makes them; else 0.
    """

    input: Port
    output: Port
    scores: str
    spatial: int
    channels_last: bool
    scores_last: bool
    batch_axis: int
    class_numbers: int = 0

    def to_file(self, batch: np.ndarray) -> np.ndarray:
        """A batch (N, C, ...) float32 as the file's input takes it."""
        dtype = np.dtype(self.input.dtype)
        if self.channels_last:
            batch = np.moveaxis(batch, 1, -1)
        if dtype.kind in "iu":
            batch = np.clip(batch, *limits(dtype))
        return np.ascontiguousarray(batch, dtype)

    def from_file(self, scores: np.ndarray) -> np.ndarray:
        """Scores (N, channels, ...) float32 from the file's own."""
        if self.batch_axis:
            scores = np.moveaxis(scores, self.batch_axis, 0)
        if scores.ndim == self.spatial + 1:
            scores = scores[:, None]
        elif self.scores_last:
            scores = np.moveaxis(scores, -1, 1)
        if self.class_numbers:
            shape = (1, self.class_numbers, *(1,) * self.spatial)
            scores = scores.astype(np.int32) == np.arange(self.class_numbers, dtype=np.int32).reshape(shape)
        return np.ascontiguousarray(scores, np.float32)


def limits(dtype: np.dtype) -> tuple[float, float]:
    """The least and the greatest integer of a type that float32 holds exactly.

    >>> limits(np.dtype(np.int32))
    (-16777216.0, 16777216.0)
    """
    info = np.iinfo(dtype)
    return float(max(info.min, -(2**24))), float(min(info.max, 2**24))


def in_batches(run: Callable[[np.ndarray], np.ndarray], batch: np.ndarray, size: int | None) -> np.ndarray:
    """Runs a batch in parts of the size that a model fixes, the last one filled up with copies.

    >>> in_batches(lambda part: part * len(part), np.arange(3), 2).tolist()
    [0, 2, 4]
    """
    if size is None:
        return run(batch)
    parts = []
    for start in range(0, len(batch), size):
        part = batch[start : start + size]
        filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        parts.append(run(filled)[: len(part)])
    return np.concatenate(parts)
