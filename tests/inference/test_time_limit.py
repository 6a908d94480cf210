"""Work that may be done in part ends when its time has passed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from helpers.inference import as_predictor
from helpers.inference.time_limit import BoundedPredictor, OutOfTimeError, TimeLimit, seconds_left, while_time_lasts


class Clock:
    """A clock that is moved by hand."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def bounded(seconds: float) -> tuple[BoundedPredictor, Clock]:
    """A predictor whose batches take one second each."""
    clock = Clock()

    def infer(batch: np.ndarray) -> np.ndarray:
        clock.now += 1
        return batch

    return BoundedPredictor(as_predictor(infer), TimeLimit(seconds, clock)), clock


def run(predictor, item: int) -> int:
    predictor.submit(np.zeros((1, 1))).result()
    return item


def test_no_item_starts_that_would_end_too_late():
    for seconds, count in ((3.0, 3), (3.9, 3), (100.0, 5)):
        predictor, clock = bounded(seconds)
        assert while_time_lasts(range(5), lambda item, used=predictor: run(used, item), predictor) == list(
            range(count)
        )
        assert clock.now == count


def test_a_batch_after_the_end_is_not_started_and_its_item_dropped():
    predictor, clock = bounded(3.5)

    def two_batches(item: int) -> int:
        run(predictor, item)
        if item:
            clock.now += 2  # this item takes longer than the first
        return run(predictor, item)

    assert while_time_lasts(range(5), two_batches, predictor) == [0]


def test_without_time_for_one_item_there_is_no_result():
    predictor, clock = bounded(0.5)
    clock.now = 1
    with pytest.raises(OutOfTimeError):
        while_time_lasts(range(5), lambda item: run(predictor, item), predictor)


def test_other_predictors_have_all_the_time():
    plain = as_predictor(lambda batch: batch)
    assert seconds_left(plain) == math.inf
    assert while_time_lasts("abc", str.upper, plain) == ["A", "B", "C"]
    assert seconds_left(bounded(7)[0]) == 7
