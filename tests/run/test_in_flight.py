"""Cases in flight: their order, the memory that they share, their turns on the device, and how they end."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from helpers.run.in_flight import CaseDropped, InFlight


def _results(flight: InFlight, items, work) -> list:
    return [landed.result() for landed in flight.run(items, work)]


@pytest.mark.parametrize("count", [1, 3])
def test_results_come_in_order_whatever_ends_first(count):
    def work(item, place):
        time.sleep(0.02 * (item % 3 == 0))
        return item * item

    assert _results(InFlight(count, 100), range(10), work) == [item * item for item in range(10)]


def test_cases_are_in_flight_together_and_no_more_than_asked_for():
    met, running, most = threading.Barrier(3, timeout=20), [], []

    def work(item, place):
        running.append(item)
        most.append(len(running))
        met.wait()  # only three at once get past this
        running.remove(item)

    _results(InFlight(3, 100), range(6), work)
    assert max(most) == 3


def test_an_error_comes_in_its_place_and_the_caller_may_go_on():
    def work(item, place):
        if item == 2:
            raise ValueError("bad")
        return item

    seen = []
    for landed in InFlight(3, 100).run(range(5), work):
        try:
            seen.append(landed.result())
        except ValueError as error:
            seen.append(str(error))
    assert seen == [0, 1, "bad", 3, 4]


def test_reserved_memory_stays_within_the_budget_and_the_earliest_goes_first():
    flight, held, order, lock = InFlight(4, 100), {}, [], threading.Lock()

    def work(item, place):
        place.reserve(10)
        place.reserve(60)
        with lock:
            held[item] = 60
            order.append(item)
            assert sum(held.values()) <= 100
        time.sleep(0.01)
        with lock:
            del held[item]

    _results(flight, range(8), work)
    assert flight.peak_reserved <= 100 and sorted(order) == list(range(8))


def test_a_case_larger_than_the_budget_runs_alone():
    flight, active = InFlight(3, 100), []

    def work(item, place):
        place.reserve(250 if item == 2 else 40)
        active.append(item)
        assert item != 2 or active == [2]
        time.sleep(0.02)
        assert item != 2 or active == [2]
        active.remove(item)
        return item

    assert _results(flight, range(6), work) == list(range(6))


def test_no_case_waits_for_ever_if_all_want_more_than_there_is():
    def work(item, place):
        place.reserve(30)
        time.sleep(0.01)
        place.reserve(90)
        return item

    assert _results(InFlight(3, 100), range(9), work) == list(range(9))


def test_the_earliest_case_gets_the_next_turn():
    flight, calls, begin = InFlight(3, 100), [], threading.Barrier(3, timeout=20)

    def work(item, place):
        begin.wait()
        for _ in range(5):
            free = place.take_turn(1)
            calls.append(item)
            time.sleep(0.01)
            free(None)

    _results(flight, range(3), work)
    # From the first call on, an earlier case that waits is never passed by a later one twice.
    last = {item: max(place for place, each in enumerate(calls) if each == item) for item in range(3)}
    assert last[0] < last[1] < last[2] and len(calls) == 15


def test_turns_are_limited():
    flight, at_once, most = InFlight(4, 100), [], []

    def work(item, place):
        for _ in range(5):
            free = place.take_turn(2)
            at_once.append(item)
            most.append(len(at_once))
            time.sleep(0.002)
            at_once.remove(item)
            free(None)

    _results(flight, range(4), work)
    assert max(most) == 2


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_caller_that_stops_drops_the_others_and_waits_for_their_threads(error):
    started, dropped = [], []
    wait = threading.Event()

    def work(item, place):
        started.append(item)
        if item:
            wait.wait(20)
            try:
                place.take_turn(1)
            except CaseDropped:
                dropped.append(item)
                raise
        return item

    with pytest.raises(error), contextlib.closing(InFlight(3, 100).run(range(20), work)) as landed:
        next(landed).result()
        threading.Timer(0.2, wait.set).start()
        raise error
    assert sorted(dropped) == sorted(set(started) - {0}) and len(started) <= 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("case")]
