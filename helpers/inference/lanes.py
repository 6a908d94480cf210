"""A few threads that each run their own work in order, side by side with the others."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

MOST_LANES = 8  # memory is busy with fewer threads than that


class Lanes:
    """Context manager of `count` threads; numpy lets go of the interpreter's lock while it works on large arrays.

    Args:
        count: threads; all cores of this process, at most 8, when None. With 0 the work runs at once in the caller.
    """

    def __init__(self, count: int | None = None):
        count = count_lanes() if count is None else count
        self.count = max(1, count)
        self._pools = [ThreadPoolExecutor(1, f"lane-{index}") for index in range(count)]

    def __enter__(self) -> Lanes:
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


def count_lanes() -> int:
    """Threads that are of use: the cores this process may use, at most 8."""
    return min(MOST_LANES, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
