"""Makes the masks of a run in actors of a Ray cluster; each opens the model once and writes to the shared store."""

from __future__ import annotations

import contextlib
import fcntl
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from helpers import recipes
from helpers.data.case import CaseFiles
from helpers.errors import CookbookError, DataError, DeviceError
from helpers.inference.budget import available_ram_bytes
from helpers.params.targets import Target
from helpers.recipes.base import Recipe
from helpers.run import Run
from helpers.run.code import project_code
from helpers.run.in_flight import InFlight, Landed, Place
from helpers.run.libraries import library_versions
from helpers.run.on_ray import ActorFlight, ActorPlan, ray_cluster, share_of_node
from helpers.run.run import BegunStage
from helpers.run.worker_run import WorkerRun
from helpers.stages.artifact import running_target

# Begins a case of a run with a source that was opened for it; `infer` passes its own.
OpenCases = Callable[[Recipe, Run], Callable[[CaseFiles, Place], BegunStage]]
_AT_ONCE = 2  # cases per actor: one on the device, one that is read, prepared or written
_MOST_CHIPS = 64


@dataclass(frozen=True)
class ActorAnswer:
    """What an actor says about a case; its files are in the store.

    Attributes:
        stage, title, key, is_reused, seconds: as in `BegunStage`.
        error: why it failed.
    """

    stage: str
    title: str
    key: str
    is_reused: bool
    seconds: float
    error: Exception | None = None


@dataclass(frozen=True)
class ActorOrder:
    """Everything that an actor needs; it travels by pickle within the cluster.

    Attributes:
        recipe, location, params_folder, import_folder: of the recipe.
        params: of the run, as JSON.
        folder: of the run, on storage that every node sees under this path.
        versions: of the code and the libraries that make masks, which every node must have.
        resource: that the actor takes one of.
        share: of the node's free memory.
        open_cases: see `OpenCases`.
    """

    recipe: str
    location: str
    params_folder: Path
    import_folder: str
    params: str
    folder: Path
    versions: tuple[str, dict[str, str]]
    resource: str
    share: float
    at_once: int
    open_cases: OpenCases


def land_on_ray(
    recipe: Recipe,
    run: Run,
    cases: Sequence[CaseFiles],
    stage_of: Callable[[CaseFiles], tuple[str, str]],
    opens: OpenCases,
) -> Generator[Landed[BegunStage], None, None]:
    """Yields the begun stage of every case, in order, as `InFlight.run` does.

    Args:
        recipe, run, cases: as in `infer_cases`.
        stage_of: name and title of a case's stage.
        opens: opens the model in an actor.

    Raises:
        DeviceError: there is no cluster, or it has too few devices.
    """
    at_once = run.params.cases_in_flight or _AT_ONCE
    plan = ActorPlan(resource_of(running_target(run)), run.params.ray_actors, at_once)
    with ray_cluster(run.params.ray_address, plan) as count, contextlib.ExitStack() as running:
        order = _order(recipe, run, plan, count, opens)
        listed: dict[str, contextlib.ExitStack] = {}

        def start(files: CaseFiles) -> None:
            if files.id not in listed:
                listed[files.id] = running.enter_context(contextlib.ExitStack())
                listed[files.id].enter_context(run.record.running(stage_of(files)[0]))

        def give_up(files: CaseFiles, reason: str) -> ActorAnswer:
            error = DeviceError(f"case {files.id} is set aside", received=reason)
            return ActorAnswer(*stage_of(files), "", False, 0.0, error)

        flight = ActorFlight[CaseFiles, ActorAnswer](count, plan, partial(open_worker, order), give_up)
        with contextlib.closing(flight.run(cases, start)) as landed:
            for files, each in zip(cases, landed, strict=True):
                listed.pop(files.id).close()
                future: Future[BegunStage] = Future()
                future.set_result(_begun(run, each.result()))
                yield Landed(future)


def resource_of(target: Target) -> str:
    """The resource of Ray that a device of a target is counted as."""
    by_runtime = {"ascend": "NPU", "ais_bench": "NPU", "magicmind": "MLU"}
    return by_runtime.get(target.runtime, "GPU" if target.device == "CUDA" else "CPU")


def open_worker(order: ActorOrder) -> Callable[[int, CaseFiles], ActorAnswer]:
    """Opens a run in an actor; an error of that is the answer to every case."""
    try:
        return _ActorCases(order)
    except Exception as error:
        failure = _portable(error)
        return lambda index, files: ActorAnswer(f"infer/{files.id}", f"Mask of {files.id}", "", False, 0.0, failure)


class _ActorCases:
    """The run of an actor, with its model opened once."""

    def __init__(self, order: ActorOrder):
        if order.import_folder and order.import_folder not in sys.path:
            sys.path.insert(0, order.import_folder)
        recipes.register(order.recipe, order.location, params_folder=order.params_folder)
        recipe = recipes.load(order.recipe)
        if (here := code_and_libraries(recipe)) != order.versions:
            raise DeviceError(
                f"node {platform.node()} has another version", received=_differences(here, order.versions)
            )
        params = recipe.params_model.model_validate_json(order.params)
        if order.resource == "MLU":  # Ray hides no MLUs from its actors
            self._chip, number = _take_chip()
            params = params.model_copy(update={"devices": [number]})
        try:
            run = WorkerRun(params, order.folder)
        except DataError as error:
            raise DeviceError(
                f"node {platform.node()} does not see the run",
                received=error.line(),
                remedy="Set `outputs` to a folder that every node reaches by the same path.",
            ) from None
        self._begin = order.open_cases(recipe, run)
        self._flight = InFlight(order.at_once, int(available_ram_bytes() * 0.8 * order.share))

    def __call__(self, index: int, files: CaseFiles) -> ActorAnswer:
        begun = self._flight.work_here(index, files, self._begin)
        begun.scratch.close()
        error = _portable(begun.error) if begun.error is not None else None
        return ActorAnswer(begun.stage, begun.title, begun.key, begun.is_reused, begun.seconds, error)


def code_and_libraries(recipe: Recipe) -> tuple[str, dict[str, str]]:
    """A digest of the code that makes masks, and the versions of the libraries that it uses."""
    reached = project_code().reach((recipe.cases, recipe.preparation, Place, InFlight))
    return reached.digest, dict(library_versions(reached.libraries))


def _order(recipe: Recipe, run: Run, plan: ActorPlan, count: int, opens: OpenCases) -> ActorOrder:
    location, params_folder = recipes.registration(recipe.name)
    module = sys.modules[location.partition(":")[0]]
    outside = not module.__name__.startswith("helpers.")
    return ActorOrder(
        recipe=recipe.name,
        location=location,
        params_folder=params_folder,
        import_folder=str(Path(str(module.__file__)).parent) if outside else "",
        params=run.params.model_copy(update={"devices": None}).model_dump_json(exclude_none=True),
        folder=run.folder,
        versions=code_and_libraries(recipe),
        resource=plan.resource,
        share=share_of_node(count),
        at_once=plan.at_once,
        open_cases=opens,
    )


def _begun(run: Run, answer: ActorAnswer) -> BegunStage:
    """The stage of a case as if it had been begun here; its entry is the one that the actor wrote."""
    begun = BegunStage(answer.stage, answer.title, answer.key, is_reused=answer.is_reused, seconds=answer.seconds)
    begun.error = answer.error
    if begun.error is None:
        begun.entry = run.store.find(answer.key)
        if begun.entry is None:
            begun.error = DataError(
                f"the result of {answer.stage} is not in the store",
                received=f"no entry {answer.key[:12]} in {run.store.root}",
                remedy="Every node must write to the same `outputs`.",
            )
    return begun


def _portable(error: BaseException) -> Exception:
    """An error that travels to another process, with the lines of its traceback as a note."""
    lines = "".join(traceback.format_exception(error))
    if isinstance(error, CookbookError):
        facts = (error.received, error.expected)
        error.received, error.expected = (None if each is None else str(each) for each in facts)
        portable: Exception = error
    else:
        portable = RuntimeError(f"{type(error).__name__}: {error}")
    portable.add_note(lines)
    return portable


def _differences(here: tuple[str, dict[str, str]], there: tuple[str, dict[str, str]]) -> str:
    names = sorted(name for name in {*here[1], *there[1]} if here[1].get(name) != there[1].get(name))
    found = [f"{name} {here[1].get(name, 'none')} instead of {there[1].get(name, 'none')}" for name in names]
    return ", ".join(found) or "another version of this program"


def _take_chip() -> tuple[IO[str], int]:
    """Takes the first MLU of this machine that no other actor holds, for as long as this process lives."""
    for number in range(_MOST_CHIPS):
        file = (Path(tempfile.gettempdir()) / f"cookbook-mlu-{number}.lock").open("a", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        return file, number
    raise DeviceError(f"node {platform.node()} has no free MLU")
