"""Runs every case on the run's device and writes its mask; a case whose mask is there is not run again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from helpers.data.case import Case, CaseFiles
from helpers.devices import Device, open_device
from helpers.inference.predictor import DevicePredictor
from helpers.interop.exchange import Exchange
from helpers.params.model import RunParams
from helpers.recipes.base import Recipe
from helpers.run import Check, Run, StageOutput, StageResult, StageResults
from helpers.run.digest import digest_value
from helpers.run.measure import Stopwatch, peak_memory
from helpers.stages.artifact import compiled_path, digest_compiled, running_precision, running_target
from helpers.stages.data import HasParams, digest_case, selected_cases
from helpers.stages.device_tool import answered_exchange
from helpers.stages.labels import run_labels
from helpers.view.progress import show_progress


class MaskSource(Protocol):
    """Where masks come from: a device, or answers that were given elsewhere. A context manager."""

    def __enter__(self) -> MaskSource: ...

    def __exit__(self, *_: object) -> None: ...

    def digest(self, case_id: str) -> str:
        """Hash of what decides the case's mask beside the case and the parameters."""

    def open(self) -> None:
        """Makes ready."""

    def segment(self, case: Case, path: Path) -> np.ndarray:
        """Class indices on the case's own grid, uint8; what the run wants beside the mask at `path` goes there."""

    def recovered_errors(self) -> list[str]:
        """What went wrong and was mended on the way."""

    def is_simulated(self) -> bool:
        """Whether a double answered, whose times mean nothing."""


def infer_cases(recipe: Recipe, run: Run, source: MaskSource | None = None) -> StageResults:
    """One mask a case in `masks/`, on the case's own grid.

    Args:
        source: None is the answers of the run's `device_tool` where they are all there, else the run's device.

    Returns:
        One result per case, in order; `timings` hold the seconds of each step and the peak resident memory.

    Raises:
        DeviceError: the device failed. Masks that were finished before stay.
    """
    if source is None:
        answered = answered_exchange(recipe, run)
        source = _ToolAnswers(recipe, run, answered) if answered else _DeviceWhenNeeded(recipe, run)
    results = []
    with source:
        for files in show_progress(selected_cases(recipe, run), "infer", run.params.interactive):
            results.append(_infer_case(recipe, run, files, source))
    return StageResults("Masks", results, run.illustrations.get("infer"))


def open_run_device(recipe: Recipe, run: Run) -> Device:
    """The compiled model of a run on the target that runs it."""
    spec = recipe.model.graph_spec(run.params)
    target, precision = running_target(run), running_precision(run)
    # What stands in for the asked target has no chips to choose from.
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
    """The run's device as a predictor."""
    spec = recipe.model.graph_spec(run.params)
    with open_run_device(recipe, run) as device:
        yield DevicePredictor(device, spec.input_name, spec.output_name)


def mask_name(recipe: Recipe, run: HasParams, case_id: str) -> str:
    """A mask's file in the run's folder."""
    return f"masks/{case_id}{recipe.cases.mask_suffix(run.params)}"


def _infer_case(recipe: Recipe, run: Run, files: CaseFiles, source: MaskSource) -> StageResult:
    labels = run_labels(recipe, run)

    def make(folder: Path) -> StageOutput:
        watch = Stopwatch()
        with peak_memory() as memory:
            with watch.time("read"):
                case = recipe.cases.read_case(files, run.params)
            with watch.time("open"):
                source.open()
            path = folder / mask_name(recipe, run, files.id)
            path.parent.mkdir()
            with watch.time("infer"):
                classes = source.segment(case, path)
            with watch.time("write"):
                recipe.cases.write_mask(classes, case, path)
            same = np.array_equal(recipe.cases.read_mask(path, case), classes)
        counts = np.bincount(classes.ravel(), minlength=len(labels))
        found = {name: int(counts[label]) for name, label in labels.foreground.items()}
        checks = (Check("mask read back on the case's grid", same, "equal" if same else "differs"),)
        facts = {"found": ", ".join(f"{name} {count:,}" for name, count in found.items() if count) or "nothing"}
        if not any(found.values()) or max(counts) == counts[1:].max():
            facts["look at this"] = "the mask is empty or nearly full"
        if mended := source.recovered_errors():
            shown = [*mended[:5], f"{len(mended) - 5} more in the log"] if len(mended) > 6 else mended
            facts["mended on the way"] = "; ".join(shown)
        timings = {**watch.seconds, **memory}
        return StageOutput(checks, facts, {"found": found}, timings=timings, simulated=source.is_simulated())

    inputs = {
        "case": digest_case(files),
        "labels": labels.names,
        "model": source.digest(files.id),
        "rules": recipe.model.cache_key_extras(run.params),
        "params": run.params.model_dump(mode="json", include=_deciding_fields(run)),
    }
    return run.perform(
        f"infer/{files.id}",
        f"Mask of {files.id}",
        inputs=inputs,
        make=make,
        code=(recipe.cases, recipe.preparation, source),
    )


def _deciding_fields(run: Run) -> set[str]:
    # What the shared parameters say of weights, cases and gates is in the digests or does not change a mask.
    own = set(type(run.params).model_fields) - set(RunParams.model_fields)
    return own - run.params.NOT_IN_MASKS | {"target", "precision", "batch_size"}


class _DeviceWhenNeeded:
    """Opens the device at the first case that needs it, so that a run whose masks are all there opens none."""

    def __init__(self, recipe: Recipe, run: Run):
        self._recipe, self._run = recipe, run
        self._stack = contextlib.ExitStack()
        self._predictor: DevicePredictor | None = None

    def __enter__(self) -> _DeviceWhenNeeded:
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
        if self._predictor is None:
            self._predictor = self._stack.enter_context(open_predictor(self._recipe, self._run))

    def segment(self, case: Case, path: Path) -> np.ndarray:
        return self._recipe.preparation.segment_and_save(case, self._predictor, self._run.params, path)


class _ToolAnswers(contextlib.nullcontext):
    """What a tool answered by hand."""

    def __init__(self, recipe: Recipe, run: Run, exchange: Exchange):
        super().__init__(self)
        self._recipe, self._run, self._exchange = recipe, run, exchange
        self._digest = digest_value({"tool": exchange.tool.name, "answers": exchange.answers_listing()})

    def digest(self, case_id: str) -> str:
        return self._digest

    def recovered_errors(self) -> list[str]:
        return []

    def is_simulated(self) -> bool:
        return False  # the seconds here are of reading answers; the tool's own stand with the tool

    def open(self) -> None:
        pass

    def segment(self, case: Case, path: Path) -> np.ndarray:
        predictor = self._exchange.predictor(case.id)
        return self._recipe.preparation.segment_and_save(case, predictor, self._run.params, path)
