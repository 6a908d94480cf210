"""Sliding-window inference that hands on finished slabs and keeps no more than one window's depth."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import numpy as np

from helpers.inference.accumulator import OrderedWorkers, WindowAccumulator
from helpers.inference.predictor import MirroredPredictor
from helpers.inference.scores import label_threshold, refuse_many_classes
from helpers.inference.window_grid import PaddedVolume, Slab, WindowGrid

Infer = Callable[[np.ndarray], np.ndarray]
Finished = tuple[tuple[int, int], tuple[int, int]]

SMALL_BATCH_BYTES = 1 << 20  # below this a thread costs more than it saves


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
    refuse_many_classes(classes)
    padded = PaddedVolume(volume, window, step, gaussian)
    grid, call = padded.grid, MirroredPredictor(infer, len(window) == 2, classes, tuple(mirror_axes), activation)
    labels = np.empty(grid.shape, np.uint8)
    with _open_lanes(grid, classes) as lanes:
        accumulator = WindowAccumulator(grid, classes, lanes)
        for planes, rows in _add_windows(padded, accumulator, call, batch_size):
            accumulator.label(planes, rows, labels, label_threshold(activation))
    return np.ascontiguousarray(labels[padded.crop])


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
        infer: takes (N, C, *window), perhaps a view of the volume that it must not change, and returns
            (N, classes, *window); when it has a `submit` that returns a Future and a `max_in_flight`, that many
            calls run at once.
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
    padded = PaddedVolume(volume, window, step, gaussian)
    grid, call = padded.grid, MirroredPredictor(infer, len(window) == 2, classes, tuple(mirror_axes), activation)
    with _open_lanes(grid, classes) as lanes:
        accumulator = WindowAccumulator(grid, classes, lanes)
        for planes, rows in _add_windows(padded, accumulator, call, batch_size):
            if rows[1] == grid.shape[1]:
                yield from _cropped(accumulator.slabs(planes), padded.crop)


def _open_lanes(grid: WindowGrid, classes: int) -> OrderedWorkers:
    """Threads for the accumulation; none where a window is small."""
    return OrderedWorkers(0 if 4 * classes * int(np.prod(grid.window)) < SMALL_BATCH_BYTES else None)


def _add_windows(
    padded: PaddedVolume, accumulator: WindowAccumulator, call: MirroredPredictor, batch_size: int
) -> Iterator[Finished]:
    """Infers and adds every window; yields (planes, rows) as soon as they are finished."""
    grid = padded.grid
    with closing(_infer_in_order(padded.array, grid, call, batch_size)) as inferred:
        for number, scores in enumerate(inferred):
            finished = grid.finished_after(number - 1) if number else None
            if finished:
                yield finished
            accumulator.add(number, scores)
    yield grid.finished_after(len(grid.positions) - 1)


def _cropped(slabs: Iterator[Slab], crop: tuple[slice, ...]) -> Iterator[Slab]:
    """Slabs without the padding, counted from the volume's own first plane."""
    first, last = crop[0].start, crop[0].stop
    for slab in slabs:
        start, stop = max(slab.start, first), min(slab.stop, last)
        if start < stop:
            planes = slice(start - slab.start, stop - slab.start)
            yield Slab(start - first, stop - first, slab.scores[:, planes, crop[1], crop[2]])


def _infer_in_order(volume: np.ndarray, grid: WindowGrid, call: MirroredPredictor, batch_size: int):
    """Scores of every window in order, with calls kept in flight ahead of the accumulation."""
    flying: deque = deque()
    with closing(_read_ahead(volume, grid, batch_size)) as batches:
        for batch in batches:
            flying.append((batch.shape, call.start(batch)))
            if len(flying) > call.max_in_flight:
                yield from _landed(flying.popleft(), call)
    while flying:
        yield from _landed(flying.popleft(), call)


def _landed(flight, call: MirroredPredictor):
    shape, calls = flight
    yield from call.collect(calls, shape)


def _read_ahead(volume: np.ndarray, grid: WindowGrid, batch_size: int):
    """Windows (N, C, *window) in order; the next batch is cut while this one is inferred."""
    groups = [grid.positions[first : first + batch_size] for first in range(0, len(grid.positions), batch_size)]
    batch_bytes = 4 * min(batch_size, len(grid.positions)) * volume.shape[0] * int(np.prod(grid.window))
    with OrderedWorkers(0 if batch_bytes < SMALL_BATCH_BYTES or batch_size == 1 else 1) as reader:
        following = reader.submit(0, _cut, volume, groups[0], grid.window)
        for index in range(len(groups)):
            batch = following.result()
            if index + 1 < len(groups):
                following = reader.submit(0, _cut, volume, groups[index + 1], grid.window)
            yield batch


def _cut(volume: np.ndarray, positions: list[tuple[int, ...]], window: tuple[int, ...]) -> np.ndarray:
    depth, height, width = window
    if len(positions) == 1:  # nothing to put together: no copy
        ((z, y, x),) = positions
        return volume[None, :, z : z + depth, y : y + height, x : x + width]
    batch = np.empty((len(positions), volume.shape[0], *window), np.float32)
    for index, (z, y, x) in enumerate(positions):
        batch[index] = volume[:, z : z + depth, y : y + height, x : x + width]
    return batch
