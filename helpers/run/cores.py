"""The cores that this process may use, and work that is shared among them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def share(total: int, parts: int) -> list[tuple[int, int]]:
    """(first, after the last) of equal shares of `total` items; empty shares are left out.

    >>> share(5, 2), share(1, 4)
    ([(0, 2), (2, 5)], [(0, 1)])
    """
    cuts = [total * index // parts for index in range(parts + 1)]
    return [(first, last) for first, last in itertools.pairwise(cuts) if first < last]


def share_among_cores(work: Callable[[int, int], object], total: int, most: int = 8) -> None:
    """Calls `work(first, after the last)` for shares of `total` items, at the same time if it releases the lock.

    Args:
        work: for one share; it should take far longer than starting a thread.
        total: number of items.
        most: threads at most; a few saturate the memory.
    """
    shares = share(total, min(most, usable_cores()))
    if len(shares) == 1:
        work(*shares[0])
        return
    with ThreadPoolExecutor(len(shares), thread_name_prefix="share") as threads:
        for task in [threads.submit(work, *each) for each in shares]:
            task.result()
