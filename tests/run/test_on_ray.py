"""What is done when actors die, on a stand-in of Ray whose actors die as a test says."""

from __future__ import annotations

import sys
from collections import Counter
from types import ModuleType, SimpleNamespace

import pytest

from helpers.errors import DeviceError
from helpers.run.on_ray import ActorFlight, ActorPlan, _count_actors, _Slot


class RayError(Exception):
    """As `ray.exceptions.RayError`."""


class ActorDied(RayError):
    """As `ray.exceptions.RayActorError`, and what Ray says of an actor that the memory was too small for."""


class TaskError(RayError):
    """As `ray.exceptions.RayTaskError`."""


class FakeRay(ModuleType):
    """Runs a call when it is waited for; an actor dies with every call in it if `dies` says so."""

    def __init__(self, dies):
        super().__init__("ray")
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=TaskError)
        self.dies, self.started, self.killed, self.shared = dies, 0, 0, []

    def remote(self, kind):
        def start(*arguments):
            self.started += 1
            actor = SimpleNamespace(worker=kind(*arguments), is_dead=False, calls=[])
            actor.work = SimpleNamespace(remote=lambda index, item: self._call(actor, index, item))
            return actor

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=start))

    def _call(self, actor, index, item):
        call = (id(actor), index, len(actor.calls))
        actor.calls.append(call)
        self._open[call] = (actor, index, item)
        self.shared.append((item, len([each for each in self._open.values() if each[0] is actor])))
        return call

    _open: dict = {}  # noqa: RUF012

    def wait(self, calls, num_returns, timeout):
        return calls[:1], calls[1:]

    def get(self, call):
        actor, index, item = self._open.pop(call)
        actor.is_dead = actor.is_dead or self.dies(item)
        if actor.is_dead:
            raise ActorDied(f"died under {item}")
        return actor.worker.work(index, item)

    def kill(self, actor):
        self.killed += 1


def _flight(monkeypatch, dies, count=2, at_once=2):
    ray = FakeRay(dies)
    ray._open = {}
    monkeypatch.setitem(sys.modules, "ray", ray)
    plan = ActorPlan("CPU", count, at_once)
    return ray, ActorFlight(
        count, plan, lambda: lambda index, item: f"mask of {item}", lambda item, why: f"{item}: {why}"
    )


def _run(flight, items):
    return [landed.result() for landed in flight.run(items, lambda item: None)]


def test_results_come_in_order_and_actors_are_ended(monkeypatch):
    ray, flight = _flight(monkeypatch, lambda item: False)
    assert _run(flight, list("abcdefg")) == [f"mask of {item}" for item in "abcdefg"]
    assert (ray.started, ray.killed, flight.replaced) == (2, 2, 0)


def test_no_more_is_handed_out_than_twice_what_the_actors_hold(monkeypatch):
    _, flight = _flight(monkeypatch, lambda item: False, count=1)
    begun: list[int] = []
    landed = flight.run(range(100), begun.append)
    next(landed)
    assert len(begun) <= 4 + 1
    landed.close()


def test_an_actor_that_dies_costs_no_case(monkeypatch):
    left = {"c", "e"}
    _, flight = _flight(monkeypatch, lambda item: item in left and not left.discard(item))
    assert _run(flight, list("abcdefg")) == [f"mask of {item}" for item in "abcdefg"]
    assert flight.replaced == 2


def test_only_the_case_that_kills_is_set_aside(monkeypatch):
    died = Counter()

    def dies(item):
        died[item] += item == "c"
        return item == "c"

    ray, flight = _flight(monkeypatch, dies, count=2, at_once=3)
    results = dict(zip("abcdefgh", _run(flight, list("abcdefgh")), strict=True))
    assert results.pop("c") == "c: 3 actors died while they worked on it: died under c"
    assert results == {item: f"mask of {item}" for item in "abdefgh"}
    assert flight.replaced == 3 and died["c"] <= 3
    alone = [together for item, together in ray.shared if item == "c"][1:]
    assert alone == [1, 1]  # after the first death its actor has no other case


def test_actors_per_device_and_per_node():
    assert _count_actors({"NPU": 8, "CPU": 64}, 2, ActorPlan("NPU")) == 8
    assert _count_actors({"NPU": 8, "CPU": 64}, 2, ActorPlan("CPU")) == 2
    assert _count_actors({"CPU": 64}, 2, ActorPlan("CPU", 16)) == 16
    with pytest.raises(DeviceError, match="too few devices: received MLU: 0, expected 1"):
        _count_actors({"CPU": 64}, 2, ActorPlan("MLU"))


def test_each_actor_asks_for_one_device():
    assert ActorPlan("NPU").options() == {"resources": {"NPU": 1}, "num_cpus": 0}
    assert ActorPlan("GPU").options() == {"num_gpus": 1, "num_cpus": 0}
    assert ActorPlan("CPU").options() == {"num_cpus": 1}


def test_a_suspect_leaves_no_room():
    slot = _Slot(lambda: None, {"call": 3}, is_alone=True)
    assert not slot.has_room(5)
