"""Sliding-window inference that hands on finished slabs and keeps no more than one window's depth."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from helpers.errors import DeviceError
from helpers.inference.activation import ACTIVATIONS
from helpers.inference.labels import slab_to_labels
from helpers.inference.window_grid import compute_steps, gaussian_profile, padding_to_window

Infer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Slab:
    """Finished planes of a volume: `scores` (classes, Z, Y, X) float32 for planes start to stop."""

    start: int
    stop: int
    scores: np.ndarray


def sliding_window(
    volume: np.ndarray,
    infer: Infer,
    window: Sequence[int],
    *,
    classes: int,
    step: float = 0.5,
    gaussian: bool = True,
    mirror_axes: Sequence[int] = (),
    activation: str | None = None,
    batch_size: int = 1,
) -> np.ndarray:
    """Labels (Z, Y, X) uint8 of a volume (C, Z, Y, X) float32; arguments as `stream_slabs`."""
    labels = np.empty(volume.shape[1:], np.uint8)
    options = {"classes": classes, "step": step, "gaussian": gaussian, "mirror_axes": mirror_axes}
    for slab in stream_slabs(volume, infer, window, activation=activation, batch_size=batch_size, **options):
        labels[slab.start : slab.stop] = slab_to_labels(slab.scores, 0.5 if activation == "sigmoid" else 0.0)
    return labels


def stream_slabs(
    volume: np.ndarray,
    infer: Infer,
    window: Sequence[int],
    *,
    classes: int,
    step: float = 0.5,
    gaussian: bool = True,
    mirror_axes: Sequence[int] = (),
    activation: str | None = None,
    batch_size: int = 1,
) -> Iterator[Slab]:
    """Yields finished slabs of class scores from the first plane to the last.

    Windows are ordered along Z. Once no later window reaches a plane, its weighted sum is divided by its summed
    weight and handed on, so the accumulator is as deep as one window, whatever the depth of the volume.

    Args:
        volume: (C, Z, Y, X) float32.
        infer: takes (N, C, *window) and returns (N, classes, *window); when it has a `submit` that returns a Future
            and a `max_in_flight`, that many calls run at once.
        window: (Z, Y, X), or (Y, X) for slices of axis Z.
        classes: channels of the scores.
        step: distance of neighbouring windows as a fraction of the window.
        gaussian: weigh the middle of a window more than its rim.
        mirror_axes: spatial axes of the window (0 the first) to mirror; all combinations are averaged.
        activation: None averages logits (nnU-Net v2), "softmax" probabilities (nnU-Net v1), "sigmoid" likewise.
        batch_size: windows a call.

    Raises:
        DeviceError: the scores have another shape, or are not finite.
    """
    flat = len(window) == 2
    window = (1, *window) if flat else tuple(window)
    pads = padding_to_window(volume.shape[1:], window)
    if any(before or after for before, after in pads):
        volume = np.pad(volume, [(0, 0), *pads])
    grid = _Grid(volume.shape[1:], window, step, gaussian, flat)
    call = _MirroredCall(infer, flat, classes, tuple(mirror_axes), activation)
    accumulator = _Accumulator(grid, classes)
    crop = [slice(before, size - after) for size, (before, after) in zip(volume.shape[1:], pads, strict=True)]
    for position, scores in _infer_in_order(volume, grid, call, batch_size):
        if position[0] > accumulator.start:
            yield from _cropped(accumulator.finish(position[0]), crop)
        accumulator.add(position, scores)
    yield from _cropped(accumulator.finish(volume.shape[1]), crop)


class _Grid:
    """Window positions, Z outermost, and the weights along each axis."""

    def __init__(self, shape: tuple[int, ...], window: tuple[int, ...], step: float, gaussian: bool, flat: bool):
        self.shape, self.window = shape, window
        self.steps = [compute_steps(size, length, step) for size, length in zip(shape, window, strict=True)]
        if flat:  # each slice once: the step is a fraction of the window's own two axes
            self.steps[0] = list(range(shape[0]))
        self.profiles = [gaussian_profile(length) if gaussian else np.ones(length) for length in window]
        self.positions = list(itertools.product(*self.steps))
        # The weights of a full grid of separable windows sum to the product of the axes' own sums.
        self.inverse_sums = [1.0 / self._axis_sum(axis) for axis in range(3)]

    def weights_of_window(self) -> np.ndarray:
        z, y, x = self.profiles
        return (z[:, None, None] * y[None, :, None] * x[None, None, :]).astype(np.float32)

    def _axis_sum(self, axis: int) -> np.ndarray:
        total = np.zeros(self.shape[axis])
        for start in self.steps[axis]:
            total[start : start + self.window[axis]] += self.profiles[axis]
        return total


class _Accumulator:
    """The weighted sum of the planes that later windows still reach."""

    def __init__(self, grid: _Grid, classes: int):
        self.start = 0
        self._grid = grid
        self._weights = grid.weights_of_window()
        self._sum = np.zeros((classes, grid.window[0], *grid.shape[1:]), np.float32)
        self._product = np.empty(grid.window[1:], np.float32)
        self._plane_scale = (grid.inverse_sums[1][:, None] * grid.inverse_sums[2][None, :]).astype(np.float32)

    def add(self, position: tuple[int, ...], scores: np.ndarray) -> None:
        """Adds one window's scores (classes, *window)."""
        _, y, x = position
        _, height, width = self._grid.window
        target = self._sum[:, :, y : y + height, x : x + width]
        # Plane by plane, so that the product stays in the cache.
        for index in range(scores.shape[0]):
            for depth in range(scores.shape[1]):
                np.multiply(scores[index, depth], self._weights[depth], out=self._product)
                target[index, depth] += self._product

    def finish(self, stop: int) -> Slab:
        """Hands on the planes before `stop` and makes room for the next ones."""
        count = stop - self.start
        scale = self._grid.inverse_sums[0][self.start : stop].astype(np.float32)
        scores = self._sum[:, :count] * (scale[:, None, None] * self._plane_scale)
        if not np.isfinite(scores.sum(dtype=np.float64)):
            raise DeviceError(
                "the device returned scores that are not finite",
                received=f"NaN or infinity in planes {self.start} to {stop}",
                remedy="Check the input for NaN, or run in f32.",
            )
        kept = self._sum.shape[1] - count
        self._sum[:, :kept] = self._sum[:, count:].copy()
        self._sum[:, kept:] = 0
        slab = Slab(self.start, stop, scores)
        self.start = stop
        return slab


class _MirroredCall:
    """Infers a batch of windows under every mirror and averages."""

    def __init__(self, infer: Infer, flat: bool, classes: int, axes: tuple[int, ...], activation: str | None):
        self._submit = getattr(infer, "submit", None) or (lambda batch: _Done(infer(batch)))
        self.max_in_flight = getattr(infer, "max_in_flight", 1)
        self._flat, self._classes = flat, classes
        self._activate = ACTIVATIONS[activation]
        mirrors = itertools.chain.from_iterable(itertools.combinations(axes, count) for count in range(len(axes) + 1))
        self._flips = [tuple(axis + 2 for axis in mirror) for mirror in mirrors]

    def start(self, batch: np.ndarray) -> list[tuple[tuple[int, ...], object]]:
        """Starts one call a mirror for windows (N, C, *window)."""
        batch = batch[:, :, 0] if self._flat else batch
        return [(axes, self._submit(np.ascontiguousarray(np.flip(batch, axes)))) for axes in self._flips]

    def collect(self, calls: list[tuple[tuple[int, ...], object]], shape: tuple[int, ...]) -> np.ndarray:
        """Scores (N, classes, *window) once all mirrors are done."""
        total: np.ndarray | None = None
        expected = (shape[0], self._classes, *shape[2:])
        for axes, future in calls:
            scores = future.result()
            scores = scores[:, :, None] if self._flat else scores
            if scores.shape != expected:
                raise DeviceError("the device returned another shape", received=scores.shape, expected=expected)
            shifted = tuple(axis + 1 for axis in axes) if self._flat else axes
            scores = np.flip(self._activate(scores), shifted)
            total = scores if total is None else total + scores
        return total if len(calls) == 1 else total / np.float32(len(calls))


class _Done:
    def __init__(self, value: np.ndarray):
        self._value = value

    def result(self) -> np.ndarray:
        return self._value


def _infer_in_order(volume, grid: _Grid, call: _MirroredCall, batch_size: int):
    """(position, scores) of every window in order, with calls kept in flight ahead of the accumulation."""
    flying: deque = deque()
    batches = (grid.positions[i : i + batch_size] for i in range(0, len(grid.positions), batch_size))
    for positions in batches:
        batch = np.stack([_cut(volume, position, grid.window) for position in positions])
        flying.append((positions, batch.shape, call.start(batch)))
        if len(flying) > call.max_in_flight:
            yield from _landed(flying.popleft(), call)
    while flying:
        yield from _landed(flying.popleft(), call)


def _landed(flight, call: _MirroredCall):
    positions, shape, calls = flight
    yield from zip(positions, call.collect(calls, shape), strict=True)


def _cut(volume: np.ndarray, position: tuple[int, ...], window: tuple[int, ...]) -> np.ndarray:
    z, y, x = position
    depth, height, width = window
    return volume[:, z : z + depth, y : y + height, x : x + width]


def _cropped(slab: Slab, crop: list[slice]) -> Iterator[Slab]:
    """The slab without padding, in the planes of the original volume; nothing when it is all padding."""
    first, last = crop[0].start, crop[0].stop
    start, stop = max(slab.start, first), min(slab.stop, last)
    if start < stop:
        planes = slice(start - slab.start, stop - slab.start)
        yield Slab(start - first, stop - first, slab.scores[:, planes, crop[1], crop[2]])
