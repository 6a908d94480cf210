"""A run: performs stages or reuses them from the cache, and records everything in its folder."""

from __future__ import annotations

import contextlib
import html
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from helpers.errors import CookbookError, DataError, GateError, StepOrderError
from helpers.params.model import RunParams
from helpers.params.paths import create_output, place_output
from helpers.run.atomic import remove_leftovers, write_json
from helpers.run.code import memo_folder, project_code
from helpers.run.digest import digest_file, digest_value
from helpers.run.environment import describe_environment
from helpers.run.libraries import library_versions
from helpers.run.record import RunRecord, attach_log_file
from helpers.run.result import Check, StageOutput, StageResult, Status
from helpers.run.store import CacheEntry, Store, describe_entry, place_files

_LOG = logging.getLogger("cookbook")
# Prefix of a file name in the run -> the call in a notebook that makes it.
_MADE_BY = {
    "graph/exported": "stages.export_onnx",
    "graph/simplified": "stages.simplify_onnx",
    "model.onnx": "stages.apply_surgery",
    "compiled/": "stages.compile_model",
    "masks/": "stages.infer_cases",
}


@dataclass
class BegunStage:
    """A stage between the two halves of `Run.perform`.

    Attributes:
        stage, title, key: of the stage.
        entry: its files and result; None if it failed.
        is_reused: whether the entry was found.
        error: what `make` raised.
        seconds: so far.
        scratch: holds the folder of files that are not in the store.
    """

    stage: str
    title: str
    key: str
    entry: CacheEntry | None = None
    is_reused: bool = False
    error: BaseException | None = None
    seconds: float = 0.0
    scratch: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


class Run:
    """One run in `outputs/<recipe>/<profile>-<hash>/`.

    Args:
        params: the resolved parameters.
        folder: of the run, instead of the one that its parameters name.
    """

    def __init__(self, params: RunParams, folder: Path | None = None):
        self.params = params
        self.folder = create_output(folder or run_folder(params))
        self.store = Store(place_output(params.outputs) / ".store")
        self.results: dict[str, StageResult] = {}
        self.made: set[str] = set()  # the stages that were performed, and not reused
        # Stage -> the run that its result comes from; one that is not found is an error instead of being made.
        self.taken: Mapping[str, str] = {}
        # Stage -> the function that draws its picture when its result is displayed.
        self.illustrations: Mapping[str, Callable[[], StageResult]] = {}
        self.given: Mapping[str, object] = {}  # the parameters that were given for this run, before any default
        self.remarks: Sequence[str] = ()  # lines about the parameters, shown with the run
        self._lock = threading.Lock()
        remove_leftovers(self.folder, deep=True)
        attach_log_file(self.folder / "run.log")
        self.record = RunRecord(
            self.folder / "run.json",
            {"params": params.model_dump(mode="json"), "environment": describe_environment()},
        )
        _LOG.info("run %s", self.folder)

    def _repr_html_(self) -> str:
        params = self.params
        names = f"profile <b>{params.profile}</b>, target <b>{params.target}</b>"
        remarks = "".join(f"<div><i>{html.escape(line)}</i></div>" for line in self.remarks)
        return f"run folder <code>{self.folder}</code>, {names}{remarks}"

    def path(self, name: str) -> Path:
        """Returns the path of a file of this run."""
        return self.folder / name

    def require_file(self, name: str) -> Path:
        """Returns the path of a file that an earlier step made.

        Raises:
            StepOrderError: the file does not exist; the step that makes it is named.
        """
        path = self.path(name)
        if not path.exists():
            step = next((step for start, step in _MADE_BY.items() if name.startswith(start)), "the earlier steps")
            raise StepOrderError(f"{name} does not exist yet", remedy=f"Run the cells in order, or {step} first.")
        return path

    def perform(
        self,
        stage: str,
        title: str,
        *,
        inputs: Mapping[str, object],
        make: Callable[[Path], StageOutput],
        code: Sequence[object] = (),
        essential: bool = True,
    ) -> StageResult:
        """Performs a stage, or reuses its result if the same inputs and code have made it before.

        Args:
            stage: short name, unique in the run; an item follows after a slash (`infer/case_1`).
            title: the name to show.
            inputs: JSON values and file digests that determine the result.
            make: writes files into the given folder and returns the output. The files are copied into the run
                folder after all checks have passed.
            code: objects that `make` calls without naming their class or function, such as parts of a recipe. The
                definitions that the function around `make` refers to are found without being listed.
            essential: whether a failure also fails the run; that of a picture does not.

        Raises:
            GateError: a check failed; its figure is in the message. Nothing of the stage is kept.
        """
        return self.commit(self.begin(stage, title, inputs=inputs, make=make, code=code), essential=essential)

    def begin(
        self,
        stage: str,
        title: str,
        *,
        inputs: Mapping[str, object],
        make: Callable[[Path], StageOutput],
        code: Sequence[object] = (),
    ) -> BegunStage:
        """The first half of `perform`: finds the result or makes it, and changes neither record nor run folder.

        Several stages may be begun at once, each in a thread of its own; `commit` belongs to one thread. An error of
        `make` is kept for `commit`.
        """
        with self._lock:  # the searched sources are shared
            key = _key(stage, inputs, (make, *code), memo_folder(self.params.outputs))
        with self.record.running(stage):
            return self._begin(BegunStage(stage, title, key), make)

    def _begin(self, begun: BegunStage, make: Callable[[Path], StageOutput]) -> BegunStage:
        stage, key, started = begun.stage, begun.key, time.perf_counter()
        try:
            begun.entry = self._find(stage, key) if self.params.cache else None
            begun.is_reused = begun.entry is not None
            if begun.entry is None:
                self._refuse_to_make(stage)
                begun.entry = self._make(key, make, begun.scratch)
        except BaseException as error:
            begun.scratch.close()
            begun.error = error
        begun.seconds = time.perf_counter() - started
        return begun

    def commit(self, begun: BegunStage, *, essential: bool = True, ends_run: bool = True) -> StageResult:
        """The second half of `perform`: places the files in the run folder and records the result or the failure.

        Args:
            begun: what `begin` returned.
            essential: as in `perform`.
            ends_run: whether a failure ends the run now; without, only the stage counts as failed.

        Raises:
            GateError: a check failed; its figure is in the message. Nothing of the stage is kept.
        """
        started = time.perf_counter()
        try:
            with begun.scratch:
                if begun.error is not None:
                    raise begun.error
                assert begun.entry is not None
                placed = begun.is_reused and self._has_placed(begun.stage, begun.entry)
                if not placed:
                    place_files(begun.entry, self.folder)
        except BaseException as error:
            self._withdraw(begun.stage, begun.key)
            seconds = begun.seconds + time.perf_counter() - started
            if essential or not isinstance(error, Exception):
                self._record_failure(begun, error, seconds, ends_run or not isinstance(error, Exception))
            raise
        if not begun.is_reused:
            self.made.add(begun.stage)
        if not placed:
            write_json(self._stage_record(begun.stage), {"key": begun.key, "files": begun.entry.files})
        return self._finish(begun, begun.entry, begun.seconds + time.perf_counter() - started)

    def record_interrupt(self, stage: str, title: str, error: BaseException) -> None:
        """Ends the run as failed at a stage that was interrupted before its result came back."""
        self._record_failure(BegunStage(stage, title, ""), error, 0.0, ends_run=True)

    def finish(self, reason: str = "") -> None:
        """Ends the run as passed, in its last step.

        Args:
            reason: a remark for the record of a run that passed.

        Raises:
            GateError: a stage failed and has not been performed again.
        """
        stages = self.record.content["stages"].values()
        failed = [stage["title"] for stage in stages if stage["status"] == "failed"]
        if failed:
            raise GateError("a step failed", received=", ".join(failed), remedy="Run it again, then finish the run.")
        self.record.end("passed", reason)
        _LOG.info("run passed: %s %s", self.folder, reason)

    def fail(self, error: CookbookError) -> None:
        """Ends the run as failed, for a reason outside its stages."""
        self.record.end("failed", error.line())

    def _find(self, stage: str, key: str) -> CacheEntry | None:
        before = _read_stage_record(self._stage_record(stage))
        if stage not in self.taken and before and before.key == key and not self._files_intact(before.files):
            # Deleting or changing a file of the run is the way to request it again.
            self.store.forget(key)
        return self.store.find(key)

    def _refuse_to_make(self, stage: str) -> None:
        if stage in self.taken:
            raise DataError(
                f"{stage} of {self.taken[stage]} does not fit this run",
                received="a result of other weights, cases, code or versions than those here",
                remedy="Run that part again with this version, or merge where it ran.",
            )

    def _has_placed(self, stage: str, entry: CacheEntry) -> bool:
        """Whether the run's folder already has an entry's files; `begin` has compared those of this key."""
        return _read_stage_record(self._stage_record(stage)) == _StageRecord(entry.key, entry.files)

    def _files_intact(self, files: Mapping[str, str]) -> bool:
        return all(
            (self.folder / name).is_file() and digest_file(self.folder / name) == digest
            for name, digest in files.items()
        )

    def _make(self, key: str, make: Callable[[Path], StageOutput], scratch: contextlib.ExitStack) -> CacheEntry:
        """Makes a stage; what may be reused goes to the store, the rest stays in `scratch` until it is placed."""
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(self.store.working_folder())
            made = make(folder)
            failed = [check for check in made.checks if not check.passed]
            if failed:
                raise GateError(
                    f"{len(failed)} of {len(made.checks)} checks failed",
                    received="; ".join(f"{check.name}: {check.figure}" for check in failed),
                )
            result = {
                "status": made.status,
                "checks": [[check.name, check.figure] for check in made.checks],
                "facts": [[name, value] for name, value in made.facts.items()],  # keeps the rows' order
                "values": dict(made.values),
                "next_step": made.next_step,
                "timings": {name: round(value, 4) for name, value in made.timings.items()},
                "simulated": made.simulated,
                "pictures": list(made.pictures.items()),  # keeps their order
            }
            entry = self.store.keep(key, folder, result) if made.reusable else describe_entry(key, folder, result)
            scratch.push(stack.pop_all())
            return entry

    def _finish(self, begun: BegunStage, entry: CacheEntry, seconds: float) -> StageResult:
        stage, reused = begun.stage, begun.is_reused
        made: Status = entry.result["status"]
        result = StageResult(
            stage=stage,
            title=begun.title,
            status="reused" if reused and made == "made" else made,
            files=tuple(entry.files),
            checks=tuple(Check(name, True, figure) for name, figure in entry.result["checks"]),
            facts=dict(entry.result["facts"]),
            values=entry.result["values"],
            seconds=round(seconds, 3),
            bytes=sum((self.folder / name).stat().st_size for name in entry.files),
            next_step=entry.result["next_step"],
            timings=entry.result["timings"],
            folder=str(self.folder),
            simulated=entry.result["simulated"],
            own_pictures=dict(entry.result["pictures"]),
            illustrate=self.illustrations.get(stage),
        )
        self.results[stage] = result
        self.record.set_stage(stage, result.to_json())
        _LOG.info("%s", result)
        return result

    def _withdraw(self, stage: str, key: str) -> None:
        """Removes the files that a failed stage made from other inputs, which must not be mistaken for its output."""
        record = self._stage_record(stage)
        before = _read_stage_record(record)
        if before and before.key != key:
            for name in before.files:
                self.path(name).unlink(missing_ok=True)
            record.unlink()

    def _record_failure(self, begun: BegunStage, error: BaseException, seconds: float, ends_run: bool) -> None:
        line = error.line() if isinstance(error, CookbookError) else f"{type(error).__name__}: {error}"
        failed = {"title": begun.title, "status": "failed", "reason": line, "seconds": seconds}
        self.record.set_stage(begun.stage, {"stage": begun.stage, **failed})
        if ends_run:
            self.record.end("failed", f"{begun.stage}: {line}")
        _LOG.error("%s failed: %s", begun.stage, line, exc_info=None if isinstance(error, GateError) else error)

    def _stage_record(self, stage: str) -> Path:
        return self.folder / ".stages" / f"{stage}.json"


@dataclass(frozen=True)
class _StageRecord:
    """What `.stages/<stage>.json` holds: the key of the stage's entry, and the digests of its files by name."""

    key: str
    files: Mapping[str, str]


def _read_stage_record(path: Path) -> _StageRecord | None:
    """Reads the record of a stage; one that was torn or damaged counts as not there."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        key, files = content["key"], dict(content["files"])
        if isinstance(key, str) and all(_is_inside(name) for name in files):
            return _StageRecord(key, files)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    _LOG.warning("%s is damaged and counts as not there", path)
    return None


def _is_inside(name: str) -> bool:
    """Whether a relative name stays in its folder: the files of a record may be removed."""
    pure = PurePosixPath(name)
    return not pure.is_absolute() and ".." not in pure.parts


def _key(stage: str, inputs: Mapping[str, object], code: Sequence[object], memo: Path) -> str:
    reached = project_code().digest(code, memo)
    content = {"stage": stage, "inputs": dict(inputs), "code": reached.digest}
    return digest_value({**content, "libraries": library_versions(reached.libraries)})


def run_folder(params: RunParams) -> Path:
    """Returns the folder of the run with these parameters; that of a part ends in `.part-3-of-10`."""
    part = ".part-" + params.part.replace("/", "-of-") if params.part else ""
    return place_output(params.outputs) / params.recipe / f"{params.profile}-{params.short_hash()}{part}"
