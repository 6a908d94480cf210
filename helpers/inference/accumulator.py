"""The weighted sum of overlapping windows, kept only where a later window still reaches."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import ModuleType

import numpy as np

from helpers.inference.scores import infinite_scores
from helpers.inference.windows import Slab, WindowGrid


@functools.cache
def load_kernels() -> ModuleType:
    """The module with `add_window`, `label_rows` and `scale_rows`."""
    try:
        from helpers.inference import kernels_numba as kernels
    except ImportError:  # the box of a device may have no more than numpy
        from helpers.inference import kernels_numpy as kernels
    return kernels


MOST_LANES = 8  # memory is busy with fewer threads than that


class OrderedWorkers:
    """Context manager of `count` threads; numpy lets go of the interpreter's lock while it works on large arrays.

    Args:
        count: threads; all cores of this process, at most 8, when None. With 0 the work runs at once in the caller.
    """

    def __init__(self, count: int | None = None):
        count = usable_cores() if count is None else count
        self.count = max(1, count)
        self._pools = [ThreadPoolExecutor(1, f"lane-{index}") for index in range(count)]

    def __enter__(self) -> OrderedWorkers:
        return self

    def __exit__(self, *_) -> None:
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)

    def submit(self, lane: int, function: Callable, *arguments) -> Future:
        """Starts work on one lane, after all earlier work of that lane."""
        if self._pools:
            return self._pools[lane].submit(function, *arguments)
        future: Future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # handed on by result(), as a thread would
            future.set_exception(error)
        return future

    def bounds(self, total: int) -> list[tuple[int, int, int]]:
        """(lane, first, last) of equal shares of `total` things; lanes without a share are left out."""
        cuts = [total * index // self.count for index in range(self.count + 1)]
        return [(lane, cuts[lane], cuts[lane + 1]) for lane in range(self.count) if cuts[lane] < cuts[lane + 1]]


def usable_cores() -> int:
    """Threads that are of use: the cores this process may use, at most 8."""
    return min(MOST_LANES, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


BAND_ROWS = 64  # rows of one plane that are taken and given back together
BLOCK_COLUMNS = (16, 96)  # of a band that lie together: the largest number in this range that divides X, else all
SLAB_BYTES = 8 << 20  # finished planes are handed on in pieces of about this size
MAX_PENDING = 1  # windows whose scores wait to be added while the next one is inferred


class WindowAccumulator:
    """Sums of windows that arrive in the grid's order, in chunks of a band of rows of one plane.

    A chunk is taken when the first window reaches it and given back once its rows are finished, so no more is held
    than the planes that the next windows share and the rows that are being worked on.

    Args:
        grid: positions and weights.
        classes: channels of the scores.
        lanes: threads that share the planes of every window.
    """

    def __init__(self, grid: WindowGrid, classes: int, lanes: OrderedWorkers):
        self._grid, self._lanes, self._kernels = grid, lanes, load_kernels()
        self._depth, (_, height, width) = grid.window[0], grid.shape
        bands, columns = -(-height // BAND_ROWS), _block_columns(width)
        chunk = (classes, width // columns, min(BAND_ROWS, height), columns)
        # Memory that is never written is never taken from the machine.
        self._store = np.empty((self._depth * bands, *chunk), np.float32)
        self._table = np.full((self._depth, bands), -1, np.int32)
        self._free = list(range(len(self._store)))[::-1]
        self._weights = grid.weights_of_window()
        depth_scale, rows_scale, columns_scale = grid.inverse_sums
        in_plane = (rows_scale[:, None] * columns_scale[None, :]).astype(np.float32)
        self._scales = (depth_scale.astype(np.float32), in_plane)
        self._pending: deque[list[Future]] = deque()

    def add(self, number: int, scores: np.ndarray) -> None:
        """Adds the scores (classes, *window) of the grid's window of that number, perhaps later.

        The scores must not change before two more windows were added or something was finished.
        """
        scores = np.ascontiguousarray(scores, np.float32)
        position, seen = self._grid.positions[number], self._grid.reach_before(number)
        self._take_chunks(position)
        work = []
        for lane, first, last in self._lanes.bounds(self._depth):
            arguments = (self._store, self._table, scores, self._weights, position, seen, first, last)
            work.append(self._lanes.submit(lane, self._kernels.add_window, *arguments))
        self._pending.append(work)
        self._settle(MAX_PENDING)

    def label(self, planes: tuple[int, int], rows: tuple[int, int], labels: np.ndarray, threshold: float) -> None:
        """Writes labels (Z, Y, X) uint8 of finished planes and rows, and gives their chunks back.

        Raises:
            DeviceError: the scores are not finite.
        """
        self._settle(0)
        work = []
        for lane, first, last in self._lanes.bounds(planes[1] - planes[0]):
            part = (planes[0] + first, planes[0] + last)
            arguments = (self._store, self._table, part, rows, self._scales, np.float32(threshold), labels)
            work.append(self._lanes.submit(lane, self._kernels.label_rows, *arguments))
        _refuse_infinite(work, planes)
        self._give_back(planes, rows)

    def slabs(self, planes: tuple[int, int]) -> Iterator[Slab]:
        """Yields mean scores of finished planes in pieces, and gives their chunks back.

        Raises:
            DeviceError: the scores are not finite.
        """
        self._settle(0)
        _, height, width = self._grid.shape
        classes = self._store.shape[1]
        most = max(1, SLAB_BYTES // (4 * classes * height * width))
        for start in range(*planes, most):
            piece = (start, min(start + most, planes[1]))
            scores = np.empty((classes, piece[1] - start, height, width), np.float32)
            work = []
            for lane, first, last in self._lanes.bounds(piece[1] - start):
                arguments = ((start + first, start + last), self._scales, scores, start)
                work.append(self._lanes.submit(lane, self._kernels.scale_rows, self._store, self._table, *arguments))
            _refuse_infinite(work, piece)
            self._give_back(piece, (0, height))
            yield Slab(*piece, scores)

    def _take_chunks(self, position: tuple[int, int, int]) -> None:
        z, y, _ = position
        slots = np.arange(z, z + self._depth) % self._depth
        bands = slice(y // BAND_ROWS, -(-(y + self._grid.window[1]) // BAND_ROWS))
        part = self._table[slots, bands]
        missing = part < 0
        if missing.any():
            part[missing] = [self._free.pop() for _ in range(np.count_nonzero(missing))]
            self._table[slots, bands] = part

    def _give_back(self, planes: tuple[int, int], rows: tuple[int, int]) -> None:
        """Chunks that lie in the planes and end within the rows."""
        last = self._table.shape[1] if rows[1] == self._grid.shape[1] else rows[1] // BAND_ROWS
        slots = np.arange(*planes) % self._depth
        part = self._table[slots, :last]
        self._free += part[part >= 0].tolist()
        self._table[slots, :last] = -1

    def _settle(self, most: int) -> None:
        while len(self._pending) > most:
            for future in self._pending.popleft():
                future.result()


def _block_columns(width: int) -> int:
    least, most = BLOCK_COLUMNS
    return next((columns for columns in range(most, least - 1, -1) if width % columns == 0), width)


def _refuse_infinite(work: list[Future], planes: tuple[int, int]) -> None:
    finite = [future.result() for future in work]  # every thread ends before an error goes on
    if not all(finite):
        raise infinite_scores(f"planes {planes[0]} to {planes[1]}")
