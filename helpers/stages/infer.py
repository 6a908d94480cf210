"""Segments every case on the run's device and writes one mask per case; a mask that exists is reused."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from helpers.data.case import Case, CaseFiles
from helpers.devices import Device, open_device
from helpers.errors import CookbookError, GateError
from helpers.inference.predictor import DevicePredictor
from helpers.interop.exchange import Exchange
from helpers.recipes.base import Recipe
from helpers.run import Check, Run, StageOutput, StageResults
from helpers.run.digest import digest_value
from helpers.run.in_flight import Landed, Place
from helpers.run.measure import Stopwatch, peak_memory
from helpers.run.run import BegunStage
from helpers.stages.artifact import compiled_path, digest_compiled, running_precision, running_target
from helpers.stages.case_in_flight import is_last, open_flight, read_in_flight, segment_in_flight
from helpers.stages.data import HasParams, digest_case, selected_cases
from helpers.stages.device_tool import answered_exchange
from helpers.stages.dicom_seg import begin_seg, is_wanted
from helpers.stages.labels import run_labels
from helpers.stages.on_actor import land_on_ray
from helpers.view.progress import show_progress

# What the seconds of a case are spent on.
MASK_STEPS = ("read", "open", "infer", "write")


class MaskSource(Protocol):
    """A context manager that makes masks: on a device, or from outputs that were computed elsewhere."""

    def __enter__(self) -> MaskSource: ...

    def __exit__(self, *_: object) -> None: ...

    def digest(self, case_id: str) -> str:
        """Hash of everything besides the case and the parameters that determines the case's mask."""

    def open(self) -> None:
        """Prepares the source for the first case."""

    def segment(self, case: Case, path: Path, place: Place) -> np.ndarray:
        """Returns class indices on the case's own grid, uint8; writes further results next to the mask at `path`.

        Args:
            case, path: as above.
            place: of this case among those in flight, for turns on the device.
        """

    def recovered_errors(self) -> list[str]:
        """Errors since the last call that did not stop the inference."""

    def is_simulated(self) -> bool:
        """Whether a double of the vendor's runtime was used, so that the times mean nothing."""


def infer_cases(recipe: Recipe, run: Run, source: MaskSource | None = None) -> StageResults:
    """Writes one mask per case to `masks/`, on the case's own grid, and a DICOM SEG to `dicom_seg/` if asked for.

    Args:
        recipe, run: a run whose model is compiled.
        source: makes the masks; by default the outputs of the run's `device_tool` if complete, else the run's device.

    Returns:
        One result per case, in order; `timings` holds the seconds of each step and the peak resident memory. Several
        cases are in flight at once, and a step may have waited for another case.

    Raises:
        CookbookError: a case failed. Masks of the cases before it are kept; with `on_error: continue` all others are
            made first, and the error names every case that failed.
    """
    if source is None:
        answered = answered_exchange(recipe, run)
        source = _ToolAnswers(recipe, run, answered) if answered else _DeviceOnDemand(recipe, run)
    cases = selected_cases(recipe, run)
    results, failed = [], {}
    with contextlib.closing(_land_cases(recipe, run, source, cases)) as landed:
        for files in show_progress(cases, "infer", run.params.interactive):
            arrived = _next_case(run, files, landed)
            try:
                results.append(run.commit(arrived.result(), ends_run=run.params.on_error == "stop"))
                if is_wanted(run.params):
                    begun = begin_seg(recipe, run, files, mask_name(recipe, run, files.id), digest_case(files))
                    run.commit(begun, ends_run=run.params.on_error == "stop")
            except Exception as error:
                if run.params.on_error == "stop" or is_last(error):
                    raise
                failed[files.id] = error
    _refuse_failures(run, failed, len(cases))
    return StageResults("Masks", results, run.illustrations.get("infer"))


def _land_cases(
    recipe: Recipe, run: Run, source: MaskSource, cases: Sequence[CaseFiles]
) -> Generator[Landed[BegunStage], None, None]:
    """Begins every case with the run's engine, and yields them in order."""
    if run.params.engine == "ray" and isinstance(source, _DeviceOnDemand):
        yield from land_on_ray(recipe, run, cases, _stage_of, _open_in_actor)
        return
    with source as opened:
        flight = open_flight(run.params, len(cases))
        with contextlib.closing(flight.run(cases, partial(_begin_case, recipe, run, opened))) as landed:
            yield from landed


def _open_in_actor(recipe: Recipe, run: Run) -> Callable[[CaseFiles, Place], BegunStage]:
    """Opens the run's device in an actor, which keeps it for as long as it lives."""
    return partial(_begin_case, recipe, run, _DeviceOnDemand(recipe, run))


def open_run_device(recipe: Recipe, run: Run) -> Device:
    """Opens the compiled model of a run on the target that runs it."""
    spec = recipe.model.graph_spec(run.params)
    target, precision = running_target(run), running_precision(run)
    # `devices` numbers the target's own hardware, not its fallback's.
    devices = run.params.devices if target.name == run.params.target else None
    return open_device(
        compiled_path(run),
        target,
        precision=precision,
        output_batch_axis=spec.output_batch_axis,
        devices=devices,
    )


@contextlib.contextmanager
def open_predictor(recipe: Recipe, run: Run) -> Iterator[DevicePredictor]:
    """Opens the run's device as a predictor."""
    spec = recipe.model.graph_spec(run.params)
    with open_run_device(recipe, run) as device:
        yield DevicePredictor(device, spec.input_name, spec.output_name)


def mask_name(recipe: Recipe, run: HasParams, case_id: str) -> str:
    """The path of a mask, relative to the run's folder."""
    return f"masks/{case_id}{recipe.cases.mask_suffix(run.params)}"


def _begin_case(recipe: Recipe, run: Run, source: MaskSource, files: CaseFiles, place: Place) -> BegunStage:
    """Makes a mask, in a thread of its own; only `Run.commit` changes the run."""
    labels = run_labels(recipe, run)

    def make(folder: Path) -> StageOutput:
        watch = Stopwatch()
        with peak_memory() as memory:
            with watch.time("read"):
                case = read_in_flight(recipe, run.params, files, place)
            with watch.time("open"):
                source.open()
            path = folder / mask_name(recipe, run, files.id)
            path.parent.mkdir()
            with watch.time("infer"):
                classes = source.segment(case, path, place)
            with watch.time("write"):
                recipe.cases.write_mask(classes, case, path)
            same = np.array_equal(recipe.cases.read_mask(path, case), classes)
        counts = np.bincount(classes.ravel(), minlength=len(labels))
        found = {name: int(counts[label]) for name, label in labels.foreground.items()}
        checks = (Check("mask read back on the case's grid", same, "equal" if same else "differs"),)
        note = _mask_note(found, counts)
        unit = "pixels" if case.geometry is None else "voxels"
        facts = _mask_facts(found, unit, note, source.recovered_errors())
        values, timings = {"found": found, "note": note}, {**watch.seconds, **memory}
        return StageOutput(checks, facts, values, timings=timings, simulated=source.is_simulated())

    inputs = {
        "case": digest_case(files),
        "labels": labels.names,
        "model": source.digest(files.id),
        "rules": recipe.model.cache_key_extras(run.params),
        "params": run.params.model_dump(mode="json", include=_deciding_fields(run)),
    }
    code = (recipe.cases, recipe.preparation, source)
    return run.begin(*_stage_of(files), inputs=inputs, make=make, code=code)


def _next_case(run: Run, files: CaseFiles, landed: Iterator[Landed[BegunStage]]) -> Landed[BegunStage]:
    """Waits for the next case, which is this one; an error here is the engine's or the user's, and ends the run."""
    try:
        return next(landed)
    except BaseException as error:
        run.record_interrupt(*_stage_of(files), error)
        raise


def _stage_of(files: CaseFiles) -> tuple[str, str]:
    return f"infer/{files.id}", f"Mask of {files.id}"


def _refuse_failures(run: Run, failed: Mapping[str, Exception], count: int) -> None:
    """Ends a run some of whose cases have no mask; their own lines are in its record and its log.

    Raises:
        GateError: it names the cases, and the reason of the first.
    """
    if not failed:
        return
    name, first = next(iter(failed.items()))
    reason = first.line() if isinstance(first, CookbookError) else f"{type(first).__name__}: {first}"
    error = GateError(
        f"{len(failed)} of {count} cases have no mask", received=f"{', '.join(failed)}; {name}: {reason}"
    )
    run.fail(error)
    raise error


def _mask_note(found: dict[str, int], counts: np.ndarray) -> str:
    """Notes a mask without foreground, or one whose largest label covers at least as much as the background."""
    extreme = not any(found.values()) or max(counts) == counts[1:].max()
    return "the mask is empty or nearly full" if extreme else ""


def _mask_facts(found: dict[str, int], unit: str, note: str, recovered: list[str]) -> dict[str, object]:
    labelled = ", ".join(f"{name} {count:,}" for name, count in found.items() if count)
    facts: dict[str, object] = {f"labelled {unit}": labelled or "none"}
    facts |= {"note": note} if note else {}
    if recovered:
        shown = [*recovered[:5], f"{len(recovered) - 5} more in the log"] if len(recovered) > 6 else recovered
        facts["recovered errors"] = "; ".join(shown)
    return facts


def _deciding_fields(run: Run) -> set[str]:
    # The other shared parameters are covered by the digests (weights, cases) or do not change a mask (gates).
    return run.params.own_fields() - run.params.NOT_IN_MASKS | {"target", "precision", "batch_size"}


class _DeviceOnDemand:
    """Opens the device for the first case that needs it; a run that reuses all masks opens none."""

    def __init__(self, recipe: Recipe, run: Run):
        self._recipe, self._run = recipe, run
        self._stack = contextlib.ExitStack()
        self._predictor: DevicePredictor | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> _DeviceOnDemand:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def digest(self, case_id: str) -> str:
        return digest_compiled(self._run)

    def recovered_errors(self) -> list[str]:
        return self._predictor.recovered_errors() if self._predictor else []

    def is_simulated(self) -> bool:
        return self._predictor is not None and self._predictor.simulated

    def open(self) -> None:
        self._opened()

    def segment(self, case: Case, path: Path, place: Place) -> np.ndarray:
        return segment_in_flight(self._recipe, self._run.params, case, self._opened(), path, place)

    def _opened(self) -> DevicePredictor:
        with self._lock:
            if self._predictor is None:
                self._predictor = self._stack.enter_context(open_predictor(self._recipe, self._run))
            return self._predictor


class _ToolAnswers(contextlib.nullcontext):
    """Makes masks from the outputs of a tool that the user ran."""

    def __init__(self, recipe: Recipe, run: Run, exchange: Exchange):
        super().__init__(self)
        self._recipe, self._run, self._exchange = recipe, run, exchange
        self._digest = digest_value({"tool": exchange.tool.name, "answers": exchange.answers_listing()})

    def digest(self, case_id: str) -> str:
        return self._digest

    def recovered_errors(self) -> list[str]:
        return []

    def is_simulated(self) -> bool:
        return False  # only the reading of outputs is timed here; the tool reports its own times

    def open(self) -> None:
        pass

    def segment(self, case: Case, path: Path, place: Place) -> np.ndarray:
        predictor = self._exchange.predictor(case.id)
        return self._recipe.preparation.segment_and_save(case, predictor, self._run.params, path)
