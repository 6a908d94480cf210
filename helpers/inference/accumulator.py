"""The weighted sum of overlapping windows, held only for the planes and rows that later windows still reach."""

from __future__ import annotations

import functools
import importlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import ModuleType

import numpy as np

from helpers.inference.scores import infinite_scores
from helpers.inference.windows import Position, Slab, WindowGrid

BAND_ROWS = 64  # rows of one plane that are allocated and released together
BLOCK_COLUMNS = (16, 96)  # columns of a band that are contiguous: the largest in this range that divides X, else all
SLAB_BYTES = 8 << 20  # finished planes are yielded in pieces of about this size
MAX_PENDING = 1  # windows whose scores wait to be added while the next one is inferred
SMALL_BYTES = 1 << 20  # windows and batches below this size are not worth a thread
MAX_THREADS = 8  # enough to saturate the memory


class OrderedWorkers:
    """Threads that each run their own tasks in the order of submission; a context manager.

    Numpy and the compiled loops release the interpreter's lock while they work on large arrays.

    Args:
        count: threads; one per usable core, at most 8, when None. With 0, tasks run immediately in the caller.
    """

    def __init__(self, count: int | None = None):
        count = usable_cores() if count is None else count
        self.count = max(1, count)
        self._threads = [ThreadPoolExecutor(1, f"worker-{index}") for index in range(count)]

    def __enter__(self) -> OrderedWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drops the tasks that have not started and ends the threads."""
        for thread in self._threads:
            thread.shutdown(cancel_futures=True)

    def submit(self, worker: int, function: Callable, *arguments: object) -> Future:
        """Starts a task on one worker, after all earlier tasks of that worker."""
        if self._threads:
            return self._threads[worker].submit(function, *arguments)
        future: Future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # raised by result(), as a thread would
            future.set_exception(error)
        return future

    def shares(self, total: int) -> list[tuple[int, int, int]]:
        """(worker, first, last) of equal shares of `total` items; workers without a share are left out.

        >>> with OrderedWorkers(0) as workers:
        ...     workers.shares(5)
        [(0, 0, 5)]
        """
        cuts = [total * index // self.count for index in range(self.count + 1)]
        shares = [(worker, cuts[worker], cuts[worker + 1]) for worker in range(self.count)]
        return [(worker, first, last) for worker, first, last in shares if first < last]


def usable_cores() -> int:
    """Cores that this process may use, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(MAX_THREADS, cores or 1)


@functools.cache
def load_kernels() -> ModuleType:
    """The module with `add_window`, `label_rows` and `scale_rows`: compiled if numba is installed."""
    try:
        return importlib.import_module("helpers.inference.kernels_numba")
    except ImportError:  # the accelerator's machine may have numpy alone
        return importlib.import_module("helpers.inference.kernels_numpy")


class WindowAccumulator:
    """Sums of windows that arrive in the grid's order; a context manager that ends its threads.

    Sums are kept in chunks, each a band of rows of one plane. A chunk is allocated when the first window reaches it
    and released once its rows are finished, so no more is held than the planes that the next windows share and the
    rows in progress.

    Args:
        grid: positions and weights.
        classes: channels of the scores.
    """

    def __init__(self, grid: WindowGrid, classes: int):
        self._grid, self._kernels = grid, load_kernels()
        # Threads share the planes of every window.
        self._workers = OrderedWorkers(0 if 4 * classes * int(np.prod(grid.window)) < SMALL_BYTES else None)
        self._depth, (_, height, width) = grid.window[0], grid.shape
        bands, columns = -(-height // BAND_ROWS), _block_columns(width)
        chunk = (classes, width // columns, min(BAND_ROWS, height), columns)
        # The system provides memory when it is first written to, so an unused chunk costs nothing.
        self._store = np.empty((self._depth * bands, *chunk), np.float32)
        self._table = np.full((self._depth, bands), -1, np.int32)
        self._free = list(range(len(self._store)))[::-1]
        self._weights = grid.weights_of_window()
        depth_scale, rows_scale, columns_scale = grid.inverse_sums
        in_plane = (rows_scale[:, None] * columns_scale[None, :]).astype(np.float32)
        self._scales = (depth_scale.astype(np.float32), in_plane)
        self._pending: deque[list[Future]] = deque()

    def __enter__(self) -> WindowAccumulator:
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.close()

    def add(self, number: int, scores: np.ndarray) -> None:
        """Queues the scores (classes, *window) of window `number` of the grid to be added.

        The scores must not change until two more windows have been added or some rows have been finished.
        """
        scores = np.ascontiguousarray(scores, np.float32)
        position, seen = self._grid.positions[number], self._grid.reach_before(number)
        self._allocate(position)
        tasks = []
        for worker, first, last in self._workers.shares(self._depth):
            arguments = (self._store, self._table, scores, self._weights, position, seen, first, last)
            tasks.append(self._workers.submit(worker, self._kernels.add_window, *arguments))
        self._pending.append(tasks)
        self._wait_until(MAX_PENDING)

    def label(self, planes: tuple[int, int], rows: tuple[int, int], labels: np.ndarray, threshold: float) -> None:
        """Writes labels (Z, Y, X) uint8 of finished planes and rows, and releases their chunks.

        Raises:
            DeviceError: the scores are not finite.
        """
        self._wait_until(0)
        tasks = []
        for worker, first, last in self._workers.shares(planes[1] - planes[0]):
            part = (planes[0] + first, planes[0] + last)
            arguments = (self._store, self._table, part, rows, self._scales, np.float32(threshold), labels)
            tasks.append(self._workers.submit(worker, self._kernels.label_rows, *arguments))
        _refuse_infinite(tasks, planes)
        self._release(planes, rows)

    def slabs(self, planes: tuple[int, int]) -> Iterator[Slab]:
        """Yields mean scores of finished planes in pieces, and releases their chunks.

        Raises:
            DeviceError: the scores are not finite.
        """
        self._wait_until(0)
        _, height, width = self._grid.shape
        classes = self._store.shape[1]
        most = max(1, SLAB_BYTES // (4 * classes * height * width))
        for start in range(*planes, most):
            piece = (start, min(start + most, planes[1]))
            scores = np.empty((classes, piece[1] - start, height, width), np.float32)
            tasks = []
            for worker, first, last in self._workers.shares(piece[1] - start):
                part = (start + first, start + last)
                arguments = (self._store, self._table, part, self._scales, scores, start)
                tasks.append(self._workers.submit(worker, self._kernels.scale_rows, *arguments))
            _refuse_infinite(tasks, piece)
            self._release(piece, (0, height))
            yield Slab(*piece, scores)

    def _allocate(self, position: Position) -> None:
        z, y, _ = position
        slots = np.arange(z, z + self._depth) % self._depth
        bands = slice(y // BAND_ROWS, -(-(y + self._grid.window[1]) // BAND_ROWS))
        part = self._table[slots, bands]
        missing = part < 0
        if missing.any():
            part[missing] = [self._free.pop() for _ in range(np.count_nonzero(missing))]
            self._table[slots, bands] = part

    def _release(self, planes: tuple[int, int], rows: tuple[int, int]) -> None:
        """Releases the chunks of these planes that end within the rows."""
        last = self._table.shape[1] if rows[1] == self._grid.shape[1] else rows[1] // BAND_ROWS
        slots = np.arange(*planes) % self._depth
        part = self._table[slots, :last]
        self._free += part[part >= 0].tolist()
        self._table[slots, :last] = -1

    def _wait_until(self, pending: int) -> None:
        while len(self._pending) > pending:
            for future in self._pending.popleft():
                future.result()


def _block_columns(width: int) -> int:
    minimum, maximum = BLOCK_COLUMNS
    return next((columns for columns in range(maximum, minimum - 1, -1) if width % columns == 0), width)


def _refuse_infinite(tasks: list[Future], planes: tuple[int, int]) -> None:
    finite = [task.result() for task in tasks]  # every thread ends before an error is raised
    if not all(finite):
        raise infinite_scores(f"planes {planes[0]} to {planes[1]}")
