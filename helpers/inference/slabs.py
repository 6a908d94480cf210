"""Sliding-window inference that hands on finished slabs and keeps no more than one window's depth."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import numpy as np

from helpers.inference.accumulator import SlabAccumulator, Taken
from helpers.inference.labels import slab_to_labels
from helpers.inference.lanes import Lanes
from helpers.inference.mirrored_call import MirroredCall
from helpers.inference.slab import Slab
from helpers.inference.window_grid import WindowGrid, padding_to_window

Infer = Callable[[np.ndarray], np.ndarray]
Take = Callable[[int, int, np.ndarray], Taken]

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
    labels = np.empty(volume.shape[1:], np.uint8)
    threshold = 0.5 if activation == "sigmoid" else 0.0

    def label(start: int, stop: int, scores: np.ndarray) -> None:
        labels[start:stop] = slab_to_labels(scores, threshold)

    options = {"classes": classes, "step": step, "gaussian": gaussian, "mirror_axes": mirror_axes}
    for _ in _stream(volume, infer, window, label, activation=activation, batch_size=batch_size, **options):
        pass
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
    options = {"classes": classes, "step": step, "gaussian": gaussian, "mirror_axes": mirror_axes}
    yield from _stream(volume, infer, window, _copy, activation=activation, batch_size=batch_size, **options)


def _copy(start: int, stop: int, scores: np.ndarray) -> Slab:
    return Slab(start, stop, scores.copy())


def _stream(
    volume, infer, window, take: Take, *, classes, step, gaussian, mirror_axes, activation, batch_size
) -> Iterator[Taken]:
    """What `take` makes of each finished slab; reading, inferring and accumulating run side by side."""
    flat = len(window) == 2
    window = (1, *window) if flat else tuple(window)
    pads = padding_to_window(volume.shape[1:], window)
    if any(before or after for before, after in pads):
        volume = np.pad(volume, [(0, 0), *pads])
    grid = WindowGrid(volume.shape[1:], window, step, gaussian, flat)
    call = MirroredCall(infer, flat, classes, tuple(mirror_axes), activation)
    crop = [slice(before, size - after) for size, (before, after) in zip(volume.shape[1:], pads, strict=True)]
    take = _cropping(take, crop)
    with Lanes(0 if 4 * classes * int(np.prod(window)) < SMALL_BATCH_BYTES else None) as lanes:
        accumulator = SlabAccumulator(grid, classes, lanes)
        with closing(_infer_in_order(volume, grid, call, batch_size)) as inferred:
            for position, scores in inferred:
                if position[0] > accumulator.start:
                    yield from _kept(accumulator.finish(position[0], take))
                accumulator.add(position, scores)
        yield from _kept(accumulator.finish(volume.shape[1], take))


def _infer_in_order(volume: np.ndarray, grid: WindowGrid, call: MirroredCall, batch_size: int):
    """(position, scores) of every window in order, with calls kept in flight ahead of the accumulation."""
    flying: deque = deque()
    with closing(_read_ahead(volume, grid, batch_size)) as batches:
        for positions, batch in batches:
            flying.append((positions, batch.shape, call.start(batch)))
            if len(flying) > call.max_in_flight:
                yield from _landed(flying.popleft(), call)
    while flying:
        yield from _landed(flying.popleft(), call)


def _landed(flight, call: MirroredCall):
    positions, shape, calls = flight
    yield from zip(positions, call.collect(calls, shape), strict=True)


def _read_ahead(volume: np.ndarray, grid: WindowGrid, batch_size: int):
    """(positions, windows (N, C, *window)); the next batch is cut while this one is inferred."""
    groups = [grid.positions[first : first + batch_size] for first in range(0, len(grid.positions), batch_size)]
    batch_bytes = 4 * min(batch_size, len(grid.positions)) * volume.shape[0] * int(np.prod(grid.window))
    with Lanes(0 if batch_bytes < SMALL_BATCH_BYTES else 1) as reader:
        following = reader.submit(0, _cut, volume, groups[0], grid.window)
        for index, positions in enumerate(groups):
            batch = following.result()
            if index + 1 < len(groups):
                following = reader.submit(0, _cut, volume, groups[index + 1], grid.window)
            yield positions, batch


def _cut(volume: np.ndarray, positions: list[tuple[int, ...]], window: tuple[int, ...]) -> np.ndarray:
    depth, height, width = window
    batch = np.empty((len(positions), volume.shape[0], *window), np.float32)
    for index, (z, y, x) in enumerate(positions):
        batch[index] = volume[:, z : z + depth, y : y + height, x : x + width]
    return batch


def _cropping(take: Take, crop: list[slice]) -> Take:
    """`take` for planes and voxels of the volume without padding; None for planes that are all padding."""
    first, last = crop[0].start, crop[0].stop

    def take_inside(start: int, stop: int, scores: np.ndarray) -> Taken | None:
        inner_start, inner_stop = max(start, first), min(stop, last)
        if inner_start >= inner_stop:
            return None
        planes = slice(inner_start - start, inner_stop - start)
        return take(inner_start - first, inner_stop - first, scores[:, planes, crop[1], crop[2]])

    return take_inside


def _kept(taken: Iterator[Taken | None]) -> Iterator[Taken]:
    return (item for item in taken if item is not None)
