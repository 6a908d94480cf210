"""Works on several cases at once, in threads, and hands out their results in order.

A case is one call of a function in one thread, so reading, preparing, inferring, restoring and writing of different
cases overlap wherever a library releases the interpreter's lock. Two things are shared, and the earliest case comes
first for both: memory, which a case asks for before it takes it, and turns on the device.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from helpers.run.cores import usable_cores

_LOG = logging.getLogger("cookbook")
MAX_CASES = 4  # more hold memory and gain nothing: one on the device, the others on the host's cores
T = TypeVar("T")
R = TypeVar("R")


class CaseDropped(Exception):
    """A case was given up because the work ends: another one failed, or the user interrupted it."""


class Place:
    """What one case in flight asks for: memory, and turns on the device.

    Args:
        flight: the work that the case belongs to.
        index: of the case; the earliest comes first.
    """

    def __init__(self, flight: InFlight, index: int):
        self._flight, self._index = flight, index

    def reserve(self, n_bytes: int) -> None:
        """Waits until the case may hold this much memory in all, which replaces what it reserved before.

        The earliest case gets what it needs once no later one makes progress: alone, it does what it did without
        others.

        Raises:
            CaseDropped: the work ends.
        """
        self._flight.reserve(self._index, n_bytes)

    def take_turn(self, limit: int) -> Callable[[object], None]:
        """Waits for a place among `limit` calls of the device; returns the function that frees it.

        Raises:
            CaseDropped: the work ends.
        """
        return self._flight.take_turn(self._index, limit)

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Keeps the device for this case, which waits for it."""
        return self._flight.alone(self._index)


class Landed(Generic[R]):
    """A case whose work has ended.

    Args:
        future: holds its result or its error.
    """

    def __init__(self, future: Future[R]):
        self._future = future

    def result(self) -> R:
        """What the work returned; raises what it raised."""
        return self._future.result()


class InFlight:
    """Cases that are worked on at once.

    Args:
        count: cases at once; 1 works in the caller's thread.
        budget_bytes: memory that all of them together may reserve.
    """

    def __init__(self, count: int, budget_bytes: int):
        self.count, self.budget_bytes = max(1, count), budget_bytes
        self.peak_reserved = 0
        self._state = threading.Condition()
        self._reserved: dict[int, int] = {}
        self._wanted: dict[int, int] = {}  # of the cases that wait for memory
        self._in_turn: list[int] = []  # the cases that wait for the device
        self._calls = 0
        self._stopped = False

    def run(self, items: Sequence[T], work: Callable[[T, Place], R]) -> Generator[Landed[R], None, None]:
        """Yields the result of every item, in order; an error is raised by `result()`.

        If the caller stops before the end, cases that have not started are left out, those in flight are dropped at
        their next call of the device or request for memory, and their threads have ended when this returns.

        Args:
            items: the cases.
            work: called with an item and its place, in one of `count` threads.
        """
        if self.count == 1:
            for index, item in enumerate(items):
                yield Landed(self._in_caller(index, item, work))
            return
        _LOG.info("up to %d cases in flight, within %.0f MiB of memory", self.count, self.budget_bytes / 2**20)
        with ThreadPoolExecutor(self.count, thread_name_prefix="case") as threads:
            try:
                yield from self._in_threads(threads, items, work)
            finally:
                self.stop()
                threads.shutdown(cancel_futures=True)

    def work_here(self, index: int, item: T, work: Callable[[T, Place], R]) -> R:
        """Works on one item in the caller's thread, for a caller that has its own threads and hands out its items."""
        return self._work(index, item, work)

    def stop(self) -> None:
        """Lets every case in flight end at its next request."""
        with self._state:
            self._stopped = True
            self._state.notify_all()

    def reserve(self, index: int, n_bytes: int) -> None:
        """See `Place.reserve`."""
        with self._state:
            self._wanted[index] = n_bytes
            self._state.notify_all()  # this case makes no progress now, which the earliest may be waiting for
            try:
                self._state.wait_for(lambda: self._stopped or self._has_room(index, n_bytes))
            finally:
                del self._wanted[index]
            self._refuse_if_stopped()
            self._reserved[index] = n_bytes
            self.peak_reserved = max(self.peak_reserved, sum(self._reserved.values()))
            self._state.notify_all()

    def take_turn(self, index: int, limit: int) -> Callable[[object], None]:
        """See `Place.take_turn`."""
        with self._waiting_for_device(index), self._state:
            self._state.wait_for(lambda: self._stopped or (self._calls < limit and index == min(self._in_turn)))
            self._refuse_if_stopped()
            self._calls += 1
        return self._free_turn

    @contextlib.contextmanager
    def alone(self, index: int) -> Iterator[None]:
        """See `Place.alone`."""
        free = self.take_turn(index, 1)
        try:
            yield
        finally:
            free(None)

    def _free_turn(self, _: object) -> None:
        with self._state:
            self._calls -= 1
            self._state.notify_all()

    @contextlib.contextmanager
    def _waiting_for_device(self, index: int) -> Iterator[None]:
        with self._state:
            self._in_turn.append(index)
        try:
            yield
        finally:
            with self._state:
                self._in_turn.remove(index)
                self._state.notify_all()

    def _has_room(self, index: int, n_bytes: int) -> bool:
        others = {other: held for other, held in self._reserved.items() if other != index}
        if sum(others.values()) + n_bytes <= self.budget_bytes:
            earlier = [other for other in self._wanted if other < index]
            return not earlier  # what is free belongs to the earliest that waits
        return all(index < other and other in self._wanted for other in others)

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise CaseDropped

    def _in_threads(
        self, threads: ThreadPoolExecutor, items: Sequence[T], work: Callable[[T, Place], R]
    ) -> Generator[Landed[R], None, None]:
        ahead, waiting = 2 * self.count, deque(enumerate(items))
        started: deque[Future[R]] = deque()
        while waiting or started:
            while waiting and len(started) < ahead:  # results that wait for their turn hold files, not memory
                index, item = waiting.popleft()
                started.append(threads.submit(self._work, index, item, work))
            future = started.popleft()
            while not future.done():
                with contextlib.suppress(TimeoutError):
                    future.exception(timeout=0.5)  # a signal's handler runs between two waits
            yield Landed(future)

    def _work(self, index: int, item: T, work: Callable[[T, Place], R]) -> R:
        try:
            with self._state:
                self._refuse_if_stopped()
            return work(item, Place(self, index))
        finally:
            with self._state:
                self._reserved.pop(index, None)
                self._state.notify_all()

    def _in_caller(self, index: int, item: T, work: Callable[[T, Place], R]) -> Future[R]:
        future: Future[R] = Future()
        try:
            future.set_result(self._work(index, item, work))
        except Exception as error:  # raised by result(), as a thread would
            future.set_exception(error)
        return future


def cases_at_once(wanted: int | None, n_cases: int) -> int:
    """Cases in flight: as many as wanted, by default one more than the usable cores, at most 4.

    >>> cases_at_once(None, 1), cases_at_once(8, 12)
    (1, 8)
    """
    return max(1, min(n_cases, wanted or min(usable_cores() + 1, MAX_CASES)))
