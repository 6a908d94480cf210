"""Makes the masks of cases with a proven model, several at once, and says in order what became of each."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from helpers.data.case import CaseFiles
from helpers.errors import CookbookError, DataError
from helpers.inference.predictor import DevicePredictor, OpenedModel
from helpers.params.model import RunParams
from helpers.predict.proof import ProvenModel
from helpers.predict.record import PredictRecord
from helpers.recipes.base import Recipe
from helpers.recipes.segments import segments_of
from helpers.run.code import memo_folder, project_code
from helpers.run.digest import digest_value
from helpers.run.in_flight import Place
from helpers.run.libraries import library_versions
from helpers.stages.case_in_flight import is_last, open_flight, read_in_flight, segment_in_flight
from helpers.stages.data import digest_case
from helpers.stages.dicom_seg import SUFFIX, is_wanted, write_mask_as_seg


@dataclass
class Outcome:
    """What became of the cases.

    Attributes:
        made, kept: ids of the cases whose masks were computed, and of those whose masks were there already.
        failed: case id to the reason.
    """

    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MaskMaker:
    """Everything that the masks of several cases have in common.

    Attributes:
        recipe, params: how a case is prepared and restored.
        model: the proven model.
        record: of the output folder.
        stop: whether the first case that fails ends the work.
    """

    recipe: Recipe
    params: RunParams
    model: ProvenModel
    record: PredictRecord
    stop: bool

    def make_all(self, cases: Sequence[CaseFiles]) -> Outcome:
        """Writes one mask per case; a mask that was made from the same files by the same model is kept.

        Raises:
            CookbookError: a case failed and `stop` is set, or the device is lost.
        """
        outcome, rules, flight = Outcome(), self._rules(), open_flight(self.params, len(cases))
        with contextlib.ExitStack() as stack:
            device = _OpenedOnce(lambda: stack.enter_context(self.model.open(self.recipe, self.params)))
            titles = {files.id: f"[{index}/{len(cases)}] {files.id}" for index, files in enumerate(cases, start=1)}

            def work(files: CaseFiles, place: Place) -> _Made | None:
                return self._make(files, rules, device, place, _Progress(titles[files.id]))

            landed = stack.enter_context(contextlib.closing(flight.run(cases, work)))
            for files in cases:
                progress = _Progress(titles[files.id])
                try:
                    made = next(landed).result()
                    (outcome.kept if made is None else outcome.made).append(files.id)
                    progress.end("unchanged" if made is None else self._keep(files, made))
                except CookbookError as error:
                    outcome.failed[files.id] = self.record.failed[files.id] = error.line()
                    self.record.write()
                    if self.stop or is_last(error):
                        raise
                    progress.end(f"failed: {error.line()}")
        return outcome

    def _make(
        self, files: CaseFiles, rules: dict[str, object], device: _OpenedOnce, place: Place, progress: _Progress
    ) -> _Made | None:
        """Makes a mask in a folder and a thread of its own; None if the one that is there is up to date."""
        started = time.perf_counter()
        with ThreadPoolExecutor(2, thread_name_prefix="read") as threads:
            digest = threads.submit(digest_case, files)
            if files.id in self.record.cases and self.record.holds(files.id, _key(digest.result(), rules)):
                return None
            opening = threads.submit(device.get)  # while the first case is read
            case = read_in_flight(self.recipe, self.params, files, place)
            predictor, key = opening.result(), _key(digest.result(), rules)
        with contextlib.ExitStack() as stack:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".work-", dir=self.record.folder)))
            path = work / f"{case.id}{self.recipe.cases.mask_suffix(self.params)}"
            counted = predictor.through(lambda opened: _Counted(opened, progress))
            classes = segment_in_flight(self.recipe, self.params, case, counted, path, place)
            self.recipe.cases.write_mask(classes, case, path)
            if not np.array_equal(self.recipe.cases.read_mask(path, case), classes):
                raise DataError(f"the mask of {case.id} differs when it is read back", remedy="Check the disk.")
            if is_wanted(self.params):
                labels = self.recipe.labels(self.params)
                seg = work / f"{case.id}{SUFFIX}"
                write_mask_as_seg(self.recipe, self.params, labels, files, case, classes, seg)
            remarks = [*_remarks(classes), *predictor.recovered_errors()]
            return _Made(key, work, remarks, time.perf_counter() - started, stack.pop_all())

    def _keep(self, files: CaseFiles, made: _Made) -> str:
        """Moves the files of a case into the output folder, records them, and returns the case's line."""
        with made.scratch:
            names = sorted(found.name for found in made.work.iterdir())
            for name in names:
                os.replace(made.work / name, self.record.folder / name)
        self.record.add(files.id, made.key, names, made.seconds)
        return "; ".join([f"{made.seconds:.1f} s", *made.remarks])

    def _rules(self) -> dict[str, object]:
        """Everything besides a case's files that its mask depends on."""
        reached = project_code().digest(
            (self.recipe.cases, self.recipe.preparation, type(self)), memo_folder(self.params.outputs)
        )
        fields = self.params.own_fields() - self.params.NOT_IN_MASKS | {"target", "precision", "batch_size"}
        return {
            "model": self.model.digest,
            "rules": self.recipe.model.cache_key_extras(self.params),
            "params": self.params.model_dump(mode="json", include=fields),
            "code": reached.digest,
            "libraries": library_versions(reached.libraries),
            **self._rules_of_seg(),
        }

    def _rules_of_seg(self) -> dict[str, object]:
        if not is_wanted(self.params):
            return {}
        return {"segments": [str(each) for each in segments_of(self.recipe.labels(self.params), self.params)]}


def _key(digest: str, rules: dict[str, object]) -> str:
    return digest_value({"case": digest, **rules})


def _remarks(classes: np.ndarray) -> list[str]:
    counts = np.bincount(classes.ravel(), minlength=2)
    extreme = not counts[1:].any() or counts.max() == counts[1:].max()
    return ["the mask is empty or nearly full"] if extreme else []


class _Progress:
    """One line per case on standard error; on a terminal it counts the calls of the network meanwhile."""

    def __init__(self, title: str):
        self._title, self._calls, self._shown = title, 0, 0.0
        self._live = sys.stderr.isatty()

    def count(self) -> None:
        """Counts one call of the network."""
        self._calls += 1
        now = time.monotonic()
        if self._live and now - self._shown > 0.2:
            self._shown = now
            sys.stderr.write(f"\r{self._title}: {self._calls} windows")
            sys.stderr.flush()

    def end(self, text: str) -> None:
        """Writes the case's line."""
        sys.stderr.write(("\r\x1b[K" if self._live else "") + f"{self._title}: {text}\n")
        sys.stderr.flush()


class _Counted:
    """A device whose calls are counted."""

    def __init__(self, device: OpenedModel, progress: _Progress):
        self._device, self._progress = device, progress
        self.name, self.max_in_flight, self.simulated = device.name, device.max_in_flight, device.simulated
        self.inputs, self.outputs, self.batches = device.inputs, device.outputs, device.batches
        self.output_batch_axis, self.torch_network = device.output_batch_axis, device.torch_network

    def submit(self, feeds: Mapping[str, np.ndarray]) -> Future:
        self._progress.count()
        return self._device.submit(feeds)

    def recovered_errors(self) -> list[str]:
        return self._device.recovered_errors()


@dataclass(frozen=True)
class _Made:
    """A mask that is written and not in the output folder yet.

    Attributes:
        key: of its record.
        work: the folder of its files.
        remarks: for the case's line.
        seconds: from the start of its case.
        scratch: removes the folder.
    """

    key: str
    work: Path
    remarks: list[str]
    seconds: float
    scratch: contextlib.ExitStack


class _OpenedOnce:
    """A device that the first case opens, while it is read."""

    def __init__(self, open_device: Callable[[], DevicePredictor]):
        self._open, self._lock = open_device, threading.Lock()
        self._device: DevicePredictor | None = None

    def get(self) -> DevicePredictor:
        """The device."""
        with self._lock:
            if self._device is None:
                self._device = self._open()
            return self._device


def free_of_truth(cases: Sequence[CaseFiles]) -> Iterator[CaseFiles]:
    """The cases without their labels, which need not be read for a mask."""
    for files in cases:
        yield CaseFiles(files.id, files.files, None, files.notes)
