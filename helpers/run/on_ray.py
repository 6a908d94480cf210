"""Works on cases in actors of a Ray cluster, one per device; this process holds names and results, never voxels.

An actor that dies is replaced, and its cases are repeated. A case that was in flight when an actor died is repeated
alone in its actor, so that the case that kills actors is found; after three deaths it is given up. Ray is
imported when a cluster is opened, and not before.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from helpers.errors import DeviceError, last_line
from helpers.run.atomic import working_folder
from helpers.run.in_flight import Landed

_LOG = logging.getLogger("cookbook")
DEATHS = 3  # of actors under one case, after which it is given up
_SECRET, _CLUSTERS = "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_STORE_BYTES = 80 << 20  # Ray's least: nothing is put into its object store
_LONGEST_REASON = 300  # characters
_LONGEST_FOLDER = 40  # characters; the path of a socket below it may have 107
T = TypeVar("T")
R = TypeVar("R")
Address = Literal["auto", "local"]


@dataclass(frozen=True)
class ActorPlan:
    """The actors of a run.

    Attributes:
        resource: what each takes one of: CPU, GPU, or a resource that the cluster names, such as NPU.
        wanted: actors; None: one for each of the resource, or one per node if it is CPU.
        at_once: cases in flight per actor.
    """

    resource: str
    wanted: int | None = None
    at_once: int = 2

    def options(self) -> dict[str, Any]:
        """What Ray is asked for."""
        amount = {"CPU": {"num_cpus": 1}, "GPU": {"num_gpus": 1, "num_cpus": 0}}
        return amount.get(self.resource, {"resources": {self.resource: 1}, "num_cpus": 0})


@contextlib.contextmanager
def ray_cluster(address: Address, plan: ActorPlan) -> Iterator[int]:
    """Joins a cluster, or starts one of this machine alone, and yields the number of actors to start.

    Args:
        address: `auto` joins the cluster that this machine or RAY_ADDRESS belongs to; `local` starts one that only
            this machine reaches (loopback, without dashboard), and ends it.
        plan: of the actors.

    Raises:
        DeviceError: there is no cluster, or it has fewer devices than actors are wanted.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        raise DeviceError("this process uses Ray already", remedy="Call ray.shutdown() first.")
    with contextlib.ExitStack() as stack:
        if address == "auto":
            try:
                ray.init(address="auto", log_to_driver=False, configure_logging=False)
            except (ConnectionError, RuntimeError) as error:
                remedy = "Start one with `ray start`, set RAY_ADDRESS, or use ray_address local."
                raise DeviceError("there is no Ray cluster to join", received=str(error), remedy=remedy) from None
        else:
            stack.enter_context(_on_loopback())
            _start_local(plan, stack.enter_context(_short_folder()))
        stack.callback(ray.shutdown)
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get(plan.resource)]
        yield _count_actors(ray.cluster_resources(), len(nodes), plan)


def share_of_node(count: int) -> float:
    """What each of so many actors may take of its node's free memory, if they are spread over the nodes evenly."""
    import ray

    nodes = max(1, len([node for node in ray.nodes() if node["Alive"]]))
    return 1 / -(-count // nodes)


class ActorFlight(Generic[T, R]):
    """Items that are worked on by actors, as `InFlight` does in threads.

    Args:
        count: actors.
        plan: of the actors.
        open_worker: opens what an actor calls for each item, from several threads; what it needs travels with it.
        given_up: the result of an item that is given up, from the reason.
    """

    def __init__(
        self,
        count: int,
        plan: ActorPlan,
        open_worker: Callable[[], Callable[[int, T], R]],
        given_up: Callable[[T, str], R],
    ):
        self._plan, self._open_worker, self._given_up = plan, open_worker, given_up
        self._slots = [_Slot(self._start) for _ in range(count)]
        self._waiting: deque[int] = deque()
        self._deaths: dict[int, int] = {}
        self._done: dict[int, R] = {}
        self.replaced = 0

    def run(self, items: Sequence[T], on_start: Callable[[T], None]) -> Generator[Landed[R], None, None]:
        """Yields the result of every item, in order.

        At most twice as many items as fit into the actors are ahead of the one that is awaited.

        Args:
            items: the cases.
            on_start: called with an item when an actor gets it.
        """
        ahead = 2 * len(self._slots) * self._plan.at_once
        queued = 0
        try:
            for index in range(len(items)):
                while index not in self._done:
                    limit = min(len(items), index + ahead)
                    self._waiting.extend(range(queued, limit))
                    queued = max(queued, limit)
                    self._hand_out(items, on_start)
                    self._collect(items)
                future: Future[R] = Future()
                future.set_result(self._done.pop(index))
                yield Landed(future)
        finally:
            for slot in self._slots:
                slot.end()

    def _start(self) -> Any:
        import ray

        kind = ray.remote(_Actor).options(
            max_concurrency=self._plan.at_once + 1,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            **self._plan.options(),
        )
        return kind.remote(self._open_worker)

    def _hand_out(self, items: Sequence[T], on_start: Callable[[T], None]) -> None:
        """Gives waiting items to actors that have room; a suspect gets an actor of its own."""
        for slot in sorted(self._slots, key=lambda each: len(each.calls)):
            while self._waiting and slot.has_room(self._plan.at_once):
                index = self._waiting[0]
                if index in self._deaths and slot.calls:
                    break
                self._waiting.popleft()
                slot.call(index, items[index], is_alone=index in self._deaths)
                on_start(items[index])

    def _collect(self, items: Sequence[T]) -> None:
        """Waits for a moment, and takes the results and the deaths that have come."""
        import ray

        owners = {call: slot for slot in self._slots for call in slot.calls}
        ready, _ = ray.wait(list(owners), num_returns=len(owners), timeout=0.02)
        if not ready:
            ready, _ = ray.wait(list(owners), num_returns=1, timeout=0.5)
        for call in ready:
            slot = owners[call]
            if call not in slot.calls:  # its actor has just been found dead
                continue
            try:
                result = ray.get(call)
            except ray.exceptions.RayTaskError:
                raise  # of the code in the actor, which answers with its errors and raises none
            except ray.exceptions.RayError as error:  # killed, crashed, out of memory, or its node is gone
                self._bury(slot, items, str(error))
            else:
                self._done[slot.finish(call)] = result

    def _bury(self, slot: _Slot, items: Sequence[T], reason: str) -> None:
        """Replaces a dead actor and repeats its items, except those under which three have died."""
        line = " ".join(reason.split())[:_LONGEST_REASON]
        lost = sorted(slot.replace())
        self.replaced += 1
        _LOG.warning("an actor died and is replaced; cases to repeat: %d; %s", len(lost), line)
        for index in reversed(lost):
            self._deaths[index] = self._deaths.get(index, 0) + 1
            if self._deaths[index] >= DEATHS:
                self._done[index] = self._given_up(
                    items[index], f"{DEATHS} actors died while they worked on it: {line}"
                )
            else:
                self._waiting.appendleft(index)


@dataclass
class _Slot:
    """The place of one actor, and the calls that it has not answered.

    Attributes:
        start: starts an actor.
        calls: call to the index of its item.
        is_alone: whether the actor works on a suspect and gets nothing else.
    """

    start: Callable[[], Any]
    calls: dict[Any, int] = field(default_factory=dict)
    is_alone: bool = False
    actor: Any = None

    def has_room(self, at_once: int) -> bool:
        return not self.is_alone and len(self.calls) < at_once

    def call(self, index: int, item: object, *, is_alone: bool) -> None:
        if self.actor is None:
            self.actor = self.start()
        self.calls[self.actor.work.remote(index, item)] = index
        self.is_alone = is_alone

    def finish(self, call: Any) -> int:
        self.is_alone = False
        return self.calls.pop(call)

    def replace(self) -> list[int]:
        """Forgets the dead actor and returns the items that it had."""
        self.end()  # an actor that is only out of reach must not work on
        lost = list(self.calls.values())
        self.calls, self.is_alone, self.actor = {}, False, None
        return lost

    def end(self) -> None:
        if self.actor is not None:
            import ray

            with contextlib.suppress(Exception):  # the cluster may be gone
                ray.kill(self.actor)


class _Actor:
    """Opens its worker with the first case and keeps it."""

    def __init__(self, open_worker: Callable[[], Callable[[int, Any], object]]):
        self._open_worker, self._lock = open_worker, threading.Lock()
        self._worker: Callable[[int, Any], object] | None = None

    def work(self, index: int, item: object) -> object:
        with self._lock:
            if self._worker is None:
                self._worker = self._open_worker()
        return self._worker(index, item)


def _start_local(plan: ActorPlan, folder: Path) -> None:
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    count = plan.wanted or 1
    given: dict[str, Any] = {"num_cpus": count} if plan.resource == "CPU" else {}
    if plan.resource not in ("CPU", "GPU", "NPU"):  # Ray finds those itself
        given = {"resources": {plan.resource: count}}
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            object_store_memory=_STORE_BYTES,
            _temp_dir=str(folder),
            **given,
        )
    except Exception as error:
        raise DeviceError("Ray cannot start a cluster of this machine", received=last_line(error)) from error


def _count_actors(resources: Mapping[str, float], nodes: int, plan: ActorPlan) -> int:
    has = int(resources.get(plan.resource, 0))
    wanted = plan.wanted or (min(nodes, has) if plan.resource == "CPU" else has)
    if not wanted or wanted > has:
        raise DeviceError(
            "the Ray cluster has too few devices",
            received=f"{plan.resource}: {has}",
            expected=f"{wanted or 1}",
            remedy=f"Start its nodes with `ray start --resources '{{\"{plan.resource}\": N}}'`, or lower ray_actors."
            if plan.resource not in ("CPU", "GPU")
            else "Lower ray_actors.",
        )
    return wanted


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Keeps a cluster to this machine and this user: it listens on loopback, and wants a token of this process.

    Ray gives a node 127.0.0.1, and binds to it alone, only where clusters are switched off by this variable. Without
    a token of our own, Ray writes one into the home folder, where every user can read it.
    """
    from ray._private import ray_constants

    own = {_CLUSTERS: "0", _SECRET: _token()}
    before, were_on = {name: os.environ.get(name) for name in own}, ray_constants.ENABLE_RAY_CLUSTER
    os.environ.update(own)
    ray_constants.ENABLE_RAY_CLUSTER = False  # the variable was read when Ray was imported
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = were_on
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@functools.cache
def _token() -> str:
    """The token of every cluster that this process starts: Ray reads it once."""
    return secrets.token_hex(32)


@contextlib.contextmanager
def _short_folder() -> Iterator[Path]:
    """A folder for the sockets and logs of a cluster, removed at its end."""
    with working_folder(Path(tempfile.gettempdir())) as folder:
        if len(str(folder)) <= _LONGEST_FOLDER:
            yield folder
            return
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as short:
        yield Path(short)
