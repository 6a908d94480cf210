"""Resamples class scores to the case's own grid and turns them into labels, slab by slab.

The interpolation is nnU-Net's (half-pixel centres, edges repeated, order 1; order 0 along the coarse axis of
anisotropic cases) in float64 with the result rounded to float32, as MIC-DKFZ/nnUNet computes it in
nnunetv2/preprocessing/resampling/default_resampling.py; here no more than two source planes are held at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from helpers.errors import DataError
from helpers.inference.accumulator import OrderedWorkers
from helpers.inference.scores import slab_to_labels
from helpers.inference.windows import Slab

BLOCK_ROWS = 64  # rows blended at a time, few enough for a core's cache


def resample_to_labels(
    scores: np.ndarray | Iterable[Slab],
    shape: Sequence[int],
    *,
    source_shape: Sequence[int] | None = None,
    nearest_axis: int | None = None,
    threshold: float = 0.0,
    region_labels: Sequence[int] = (),
) -> np.ndarray:
    """Labels uint8 of `shape` (Z, Y, X); arguments as `resample_slabs` and `slab_to_labels`."""
    labels = np.empty(tuple(shape), np.uint8)

    def label(start: int, rows: slice, piece: np.ndarray) -> None:
        labels[start, rows] = slab_to_labels(piece[:, None], threshold, region_labels)[0]

    for _ in _stream(scores, shape, source_shape, nearest_axis, label):
        pass
    return labels


def resample_slabs(
    scores: np.ndarray | Iterable[Slab],
    shape: Sequence[int],
    *,
    source_shape: Sequence[int] | None = None,
    nearest_axis: int | None = None,
) -> Iterator[Slab]:
    """Yields the resampled scores (classes, 1, Y, X) float32 plane by plane, from the first to the last.

    Args:
        scores: logits or probabilities (classes, Z, Y, X), or slabs of them as `stream_slabs` yields them.
        shape: (Z, Y, X) to resample to.
        source_shape: (Z, Y, X) of all slabs together; known for an array.
        nearest_axis: axis with order 0 (nnU-Net: the coarse one, spacing ratio above 3); None: order 1 everywhere.

    Raises:
        DataError: slabs without `source_shape`, or with fewer planes than it promises.

    >>> scores = np.array([[[[0.0, 3.0]]]], np.float32)
    >>> [slab.scores.tolist() for slab in resample_slabs(scores, (1, 1, 3))]
    [[[[[0.0, 1.5, 3.0]]]]]
    """
    planes: dict[int, np.ndarray] = {}

    def keep(start: int, rows: slice, piece: np.ndarray) -> None:
        plane = planes.setdefault(start, np.empty((piece.shape[0], *tuple(shape)[1:]), np.float32))
        plane[:, rows] = piece

    for stop in _stream(scores, shape, source_shape, nearest_axis, keep):
        for start in sorted(planes):
            yield Slab(start, start + 1, planes.pop(start)[:, None])
        if stop == shape[0]:
            return


def _stream(
    scores: np.ndarray | Iterable[Slab],
    shape: Sequence[int],
    source_shape: Sequence[int] | None,
    nearest_axis: int | None,
    take: Callable[[int, slice, np.ndarray], None],
) -> Iterator[int]:
    """Calls `take(plane, rows, scores of the rows)` in threads; yields the number of complete output planes."""
    if isinstance(scores, np.ndarray):
        source_shape, volume = scores.shape[1:], scores
        scores = (Slab(z, z + 1, volume[:, z : z + 1]) for z in range(volume.shape[1]))
    elif source_shape is None:
        raise DataError("slabs of scores need the shape of their whole volume", expected="source_shape")
    axes = [_Taps.linear(*sizes) for sizes in zip(source_shape, shape, strict=True)]
    if nearest_axis is not None:
        axes[nearest_axis] = _Taps.nearest(source_shape[nearest_axis], shape[nearest_axis])
    done = 0
    with OrderedWorkers() as workers:
        bands = [(worker, _Band(axes, first, last, take)) for worker, first, last in workers.shares(shape[1])]
        for slab in scores:
            for future in [workers.submit(worker, band.push, slab) for worker, band in bands]:
                done = future.result()
            yield done
    if done != shape[0]:
        raise DataError("slabs of scores end early", received=f"{done} planes", expected=f"{shape[0]} planes")


@dataclass(frozen=True)
class _Taps:
    """Along one axis, output i is (1 - weight[i]) * source[low[i]] + weight[i] * source[high[i]]."""

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray

    @classmethod
    def linear(cls, source: int, target: int) -> _Taps:
        place = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
        low = np.floor(place).astype(np.intp)
        return cls(low, np.minimum(low + 1, source - 1), place - low)

    @classmethod
    def nearest(cls, source: int, target: int) -> _Taps:
        place = (source / target) * (np.arange(target) + 0.5) - 0.5
        index = np.clip(np.floor(place + 0.5), 0, source - 1).astype(np.intp)
        return cls(index, index, np.zeros(target))

    def part(self, first: int, last: int) -> _Taps:
        return _Taps(self.low[first:last], self.high[first:last], self.weight[first:last])

    def along(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Resampled values; the axis is the last or the one before it."""
        if np.array_equal(self.low, np.arange(values.shape[axis])) and not self.weight.any():
            return values
        weight = self.weight if axis == -1 else self.weight[:, None]
        result = values.take(self.low, axis)
        if weight.any():
            result *= 1 - weight
            other = values.take(self.high, axis)
            other *= weight
            result += other
        return result


class _Band:
    """Some rows of every output plane: resamples each source plane once and blends neighbours."""

    def __init__(self, axes: list[_Taps], first: int, last: int, take: Callable[[int, slice, np.ndarray], None]):
        self._depth, self._columns, self._take = axes[0], axes[2], take
        rows = axes[1].part(first, last)
        self._source_rows = slice(int(rows.low.min()), int(rows.high.max()) + 1)
        offset = self._source_rows.start
        self._rows = _Taps(rows.low - offset, rows.high - offset, rows.weight)
        self._first, self._next = first, 0
        self._planes: dict[int, np.ndarray] = {}

    def push(self, slab: Slab) -> int:
        """Adds the slab's planes, passes on the output planes that they complete and returns how many are done."""
        for index in range(slab.stop - slab.start):
            source = slab.start + index
            if not self._is_needed(source):
                continue
            plane = slab.scores[:, index, self._source_rows].astype(np.float64)
            self._planes[source] = self._rows.along(self._columns.along(plane, -1), -2)
            while self._next < len(self._depth.low) and self._depth.high[self._next] <= source:
                self._blend(self._next)
                self._next += 1
            needed = self._depth.low[self._next] if self._next < len(self._depth.low) else source + 1
            self._planes = {place: kept for place, kept in self._planes.items() if place >= needed}
        return self._next

    def _is_needed(self, source: int) -> bool:
        later = slice(self._next, None)
        return bool(np.any(self._depth.low[later] == source) or np.any(self._depth.high[later] == source))

    def _blend(self, target: int) -> None:
        low, high = self._planes[self._depth.low[target]], self._planes[self._depth.high[target]]
        weight = self._depth.weight[target]
        for row in range(0, low.shape[1], BLOCK_ROWS):
            rows = slice(row, min(low.shape[1], row + BLOCK_ROWS))
            if weight:
                piece = np.multiply(low[:, rows], 1 - weight)
                piece += high[:, rows] * weight
            else:
                piece = low[:, rows]
            place = slice(self._first + rows.start, self._first + rows.stop)
            self._take(target, place, piece.astype(np.float32))
