"""Streaming sliding-window inference: a plane is released as soon as it is finished, so depth costs no memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing

import numpy as np

from helpers.inference.accumulator import SMALL_BYTES, OrderedWorkers, WindowAccumulator
from helpers.inference.predictor import Answer, MirroredPredictor, Predictor, as_predictor
from helpers.inference.scores import refuse_many_classes, slab_to_labels
from helpers.inference.windows import PaddedVolume, Position, Slab, WindowPlan

Windows = Generator[np.ndarray, None, None]
Finished = tuple[tuple[int, int], tuple[int, int]]  # planes and rows, each (first, after the last)


def sliding_window(
    volume: np.ndarray,
    infer: Callable[[np.ndarray], np.ndarray],
    window: Sequence[int],
    *,
    classes: int,
    step: float = 0.5,
    gaussian: bool = True,
    mirror_axes: Sequence[int] = (),
    activation: str | None = None,
    batch_size: int = 1,
) -> np.ndarray:
    """Labels (Z, Y, X) uint8 of a volume (C, Z, Y, X) float32.

    Args:
        volume: axes shorter than the window are padded with zeros on both sides.
        infer: maps (N, C, *window) float32 to (N, classes, *window); a `Predictor` keeps calls in flight. The batch
            may be a view of the volume and must not be changed.
        window: (Z, Y, X), or (Y, X) for slices of axis Z.
        classes, gaussian, mirror_axes, activation, batch_size: as in `WindowPlan`; `step` is its `tile_step_size`.

    Raises:
        DeviceError: the scores have another shape, or are not finite.

    >>> volume = np.ones((1, 4, 6, 6), np.float32) * (np.arange(6) < 3)[:, None]
    >>> infer = lambda batch: np.concatenate([0.5 - batch, batch - 0.5], axis=1)
    >>> labels = sliding_window(volume, infer, (4, 4, 4), classes=2)
    >>> labels[0, :, 0].tolist()
    [1, 1, 1, 0, 0, 0]
    """
    plan = WindowPlan(
        tuple(window),
        classes,
        tile_step_size=step,
        gaussian=gaussian,
        mirror_axes=tuple(mirror_axes),
        activation=activation,
        batch_size=batch_size,
    )
    return label_volume(volume, as_predictor(infer), plan)


def label_volume(volume: np.ndarray, predictor: Predictor, plan: WindowPlan) -> np.ndarray:
    """Labels (Z, Y, X) uint8 on the grid of a volume (C, Z, Y, X) float32.

    Raises:
        DeviceError: the scores have another shape, or are not finite.
        DataError: there are more than 256 classes.
    """
    refuse_many_classes(plan.classes)
    if plan.region_labels:
        slabs = stream_slabs(volume, predictor, plan)
        parts = [slab_to_labels(slab.scores, plan.label_threshold, plan.region_labels) for slab in slabs]
        return np.concatenate(parts)
    padded, threshold = PaddedVolume(volume, plan), plan.label_threshold
    labels = np.empty(padded.grid.shape, np.uint8)
    with WindowAccumulator(padded.grid, plan.classes) as accumulator:
        for planes, rows in _add_windows(padded, accumulator, predictor, plan):
            accumulator.label(planes, rows, labels, threshold)
    return np.ascontiguousarray(labels[padded.crop])


def stream_slabs(volume: np.ndarray, predictor: Predictor, plan: WindowPlan) -> Iterator[Slab]:
    """Yields finished slabs of class scores on the volume's grid, from the first plane to the last.

    Windows are ordered along Z. Once no later window reaches a plane, its weighted sum is divided by its summed
    weight and yielded, so the accumulator is as deep as one window, whatever the depth of the volume.

    Raises:
        DeviceError: the scores have another shape, or are not finite.
    """
    padded = PaddedVolume(volume, plan)
    with WindowAccumulator(padded.grid, plan.classes) as accumulator:
        for planes, rows in _add_windows(padded, accumulator, predictor, plan):
            if rows[1] == padded.grid.shape[1]:
                yield from _cropped(accumulator.slabs(planes), padded.crop)


def _add_windows(
    padded: PaddedVolume, accumulator: WindowAccumulator, predictor: Predictor, plan: WindowPlan
) -> Iterator[Finished]:
    """Infers and adds every window; yields (planes, rows) as soon as they are finished."""
    grid = padded.grid
    with closing(_infer_in_order(padded, MirroredPredictor(predictor, plan), plan.batch_size)) as inferred:
        for number, scores in enumerate(inferred):
            finished = grid.finished_after(number - 1) if number else None
            if finished:
                yield finished
            accumulator.add(number, scores)
    last = grid.finished_after(len(grid.positions) - 1)
    if last:
        yield last


def _infer_in_order(padded: PaddedVolume, mirrored: MirroredPredictor, batch_size: int) -> Windows:
    """Scores of every window in order, with calls kept in flight ahead of the accumulation."""
    in_flight: deque[Answer] = deque()
    with closing(_read_ahead(padded, batch_size)) as batches:
        for batch in batches:
            in_flight.append(mirrored.submit(batch))
            if len(in_flight) > mirrored.max_in_flight:
                yield from in_flight.popleft().result()
    while in_flight:
        yield from in_flight.popleft().result()


def _read_ahead(padded: PaddedVolume, batch_size: int) -> Windows:
    """Windows (N, C, Z, Y, X) in order; the next batch is cut while this one is inferred."""
    volume, window, positions = padded.array, padded.grid.window, padded.grid.positions
    groups = [positions[first : first + batch_size] for first in range(0, len(positions), batch_size)]
    batch_bytes = 4 * min(batch_size, len(positions)) * volume.shape[0] * int(np.prod(window))
    with OrderedWorkers(0 if batch_bytes < SMALL_BYTES or batch_size == 1 else 1) as reader:
        following = reader.submit(0, _cut, volume, groups[0], window)
        for index in range(len(groups)):
            batch = following.result()
            if index + 1 < len(groups):
                following = reader.submit(0, _cut, volume, groups[index + 1], window)
            yield batch


def _cut(volume: np.ndarray, positions: Sequence[Position], window: tuple[int, int, int]) -> np.ndarray:
    depth, height, width = window
    if len(positions) == 1:  # a view: nothing to assemble, no copy
        ((z, y, x),) = positions
        return volume[None, :, z : z + depth, y : y + height, x : x + width]
    batch = np.empty((len(positions), volume.shape[0], *window), np.float32)
    for index, (z, y, x) in enumerate(positions):
        batch[index] = volume[:, z : z + depth, y : y + height, x : x + width]
    return batch


def _cropped(slabs: Iterator[Slab], crop: tuple[slice, ...]) -> Iterator[Slab]:
    """Slabs without the padding, counted from the volume's own first plane."""
    first, last = crop[0].start, crop[0].stop
    for slab in slabs:
        start, stop = max(slab.start, first), min(slab.stop, last)
        if start < stop:
            planes = slice(start - slab.start, stop - slab.start)
            yield Slab(start - first, stop - first, slab.scores[:, planes, crop[1], crop[2]])
