"""The weighted sum of overlapping windows, kept only for the planes that later windows still reach."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

import numpy as np

from helpers.errors import DeviceError
from helpers.inference.lanes import Lanes
from helpers.inference.window_grid import WindowGrid

Taken = TypeVar("Taken")

PRODUCT_BYTES = 256 << 10  # one thread's product of scores and weights stays in its core's cache
SLAB_BYTES = 8 << 20  # finished planes are handed on in pieces of about this size
MOST_PENDING = 1  # windows whose scores wait to be added while the next one is inferred


class SlabAccumulator:
    """Sums of windows in a ring of planes as deep as one window: plane z lies in slot z modulo the depth.

    Args:
        grid: positions and weights.
        classes: channels of the scores.
        lanes: threads that share the planes of every window.
    """

    def __init__(self, grid: WindowGrid, classes: int, lanes: Lanes):
        self.start = 0
        self._grid, self._lanes = grid, lanes
        self._depth, height, width = grid.window
        self._weights = grid.weights_of_window()
        self._sum = np.zeros((classes, self._depth, *grid.shape[1:]), np.float32)
        self._block = max(1, min(self._depth, PRODUCT_BYTES // (4 * height * width)))
        self._products = [np.empty((self._block, height, width), np.float32) for _ in range(lanes.count)]
        self._plane_scale = (grid.inverse_sums[1][:, None] * grid.inverse_sums[2][None, :]).astype(np.float32)
        self._pending: deque[list[Future]] = deque()

    def add(self, position: tuple[int, ...], scores: np.ndarray) -> None:
        """Adds one window's scores (classes, *window), perhaps later; windows of one Z only until `finish`."""
        work = []
        for lane, first, last in self._lanes.bounds(self._depth):
            work.append(self._lanes.submit(lane, self._add_planes, lane, position, scores, first, last))
        self._pending.append(work)
        self._settle(MOST_PENDING)

    def finish(self, stop: int, take: Callable[[int, int, np.ndarray], Taken]) -> Iterator[Taken]:
        """Yields what `take(start, stop, scores)` makes of the planes before `stop`, and makes room for the next.

        `take` runs in a thread; its scores (classes, Z, Y, X) are a view that is cleared after it returns.

        Raises:
            DeviceError: the scores are not finite.
        """
        self._settle(0)
        pieces = list(self._pieces(stop))
        for index in range(0, len(pieces), self._lanes.count):
            group = enumerate(pieces[index : index + self._lanes.count])
            work = [self._lanes.submit(lane, self._hand_on, *piece, take) for lane, piece in group]
            for future in work:
                yield future.result()
        self.start = stop

    def _settle(self, most: int) -> None:
        while len(self._pending) > most:
            for future in self._pending.popleft():
                future.result()

    def _add_planes(self, lane: int, position: tuple[int, ...], scores: np.ndarray, first: int, last: int) -> None:
        z, y, x = position
        _, height, width = self._grid.window
        target = self._sum[:, :, y : y + height, x : x + width]
        start = first
        while start < last:
            slot = (z + start) % self._depth
            count = min(self._block, last - start, self._depth - slot)
            weights, product = self._weights[start : start + count], self._products[lane][:count]
            for index in range(scores.shape[0]):
                planes = target[index, slot : slot + count]
                np.multiply(scores[index, start : start + count], weights, out=product)
                np.add(planes, product, out=planes)
            start += count

    def _pieces(self, stop: int) -> Iterator[tuple[int, int]]:
        """Ranges of planes that are contiguous in the ring and not too large."""
        most = max(1, SLAB_BYTES // (self._sum[:, 0].size * 4))
        start = self.start
        while start < stop:
            end = min(stop, start + most, start + self._depth - start % self._depth)
            yield start, end
            start = end

    def _hand_on(self, start: int, stop: int, take: Callable[[int, int, np.ndarray], Taken]) -> Taken:
        slot = start % self._depth
        scores = self._sum[:, slot : slot + stop - start]
        depth_scale = self._grid.inverse_sums[0][start:stop].astype(np.float32)
        for index, scale in enumerate(depth_scale):
            np.multiply(scores[:, index], scale * self._plane_scale, out=scores[:, index])
        if not np.isfinite(scores.sum()) and not np.isfinite(scores).all():
            raise DeviceError(
                "the device returned scores that are not finite",
                received=f"NaN or infinity in planes {start} to {stop}",
                remedy="Check the input for NaN, or run in f32.",
            )
        taken = take(start, stop, scores)
        scores[...] = 0
        return taken
