"""A time limit for work that may be done in part, such as a score that is computed for comparison only."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from helpers.inference.on_torch import TorchNetwork
from helpers.inference.predictor import Answer, Predictor

T = TypeVar("T")
U = TypeVar("U")


class OutOfTimeError(Exception):
    """The time for a part of the work has passed; what was completed before counts."""


class TimeLimit:
    """Ends work once a number of seconds has passed since it was made."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.perf_counter):
        self.clock, self._end = clock, clock() + seconds

    def left(self) -> float:
        """Seconds that remain."""
        return self._end - self.clock()

    def check(self) -> None:
        """Raises an OutOfTimeError once the time has passed."""
        if self.left() <= 0:
            raise OutOfTimeError


class BoundedPredictor:
    """A predictor that starts no batch once the time has passed."""

    def __init__(self, predictor: Predictor, limit: TimeLimit):
        self._predictor, self.limit = predictor, limit
        self.name, self.max_in_flight = predictor.name, predictor.max_in_flight
        self.simulated, self.fixed_batches = predictor.simulated, predictor.fixed_batches
        self.torch_network: TorchNetwork | None = predictor.torch_network

    def submit(self, batch: np.ndarray) -> Answer:
        self.limit.check()
        return self._predictor.submit(batch)

    def recovered_errors(self) -> list[str]:
        return self._predictor.recovered_errors()


def seconds_left(predictor: Predictor) -> float:
    """The seconds that a bounded predictor has left; infinity for any other."""
    return predictor.limit.left() if isinstance(predictor, BoundedPredictor) else math.inf


def while_time_lasts(items: Iterable[T], do: Callable[[T], U], predictor: Predictor) -> list[U]:
    """The results of the items that a bounded predictor has time for, in order; a partial one is dropped.

    No item is started that would end too late if it took as long as the longest before it.

    Raises:
        OutOfTimeError: there was no time for the first item.
    """
    done: list[U] = []
    clock = predictor.limit.clock if isinstance(predictor, BoundedPredictor) else time.perf_counter
    longest, before = 0.0, clock()
    try:
        for item in items:
            if seconds_left(predictor) < longest:
                break
            done.append(do(item))
            longest, before = max(longest, clock() - before), clock()
    except OutOfTimeError:
        pass
    if not done:
        raise OutOfTimeError
    return done
