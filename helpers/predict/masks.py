"""Makes the masks of cases with a proven model, one case after the other, and says what became of each."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from helpers.data.case import Case, CaseFiles
from helpers.devices.base import DeviceFault
from helpers.errors import CookbookError, DataError
from helpers.inference.predictor import Answer, DevicePredictor, Predictor
from helpers.params.model import RunParams
from helpers.predict.proof import ProvenModel
from helpers.predict.record import PredictRecord
from helpers.recipes.base import Recipe
from helpers.run.code import project_code
from helpers.run.digest import digest_value
from helpers.run.libraries import library_versions
from helpers.stages.data import digest_case


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
        outcome, rules = Outcome(), self._rules()
        with contextlib.ExitStack() as stack:
            device: DevicePredictor | None = None
            for index, files in enumerate(cases, start=1):
                progress = _Progress(f"[{index}/{len(cases)}] {files.id}")
                try:
                    with ThreadPoolExecutor(2, thread_name_prefix="read") as threads:
                        digest = threads.submit(digest_case, files)
                        if files.id in self.record.cases and self.record.holds(
                            files.id, _key(digest.result(), rules)
                        ):
                            outcome.kept.append(files.id)
                            progress.end("unchanged")
                            continue
                        reading = threads.submit(self.recipe.cases.read_case, files, self.params)
                        if device is None:  # opened while the first case is read
                            device = stack.enter_context(self.model.open(self.recipe, self.params))
                        case, key = reading.result(), _key(digest.result(), rules)
                    self._make(case, key, device, progress)
                    outcome.made.append(files.id)
                except CookbookError as error:
                    outcome.failed[files.id] = self.record.failed[files.id] = error.line()
                    self.record.write()
                    if self.stop or (isinstance(error, DeviceFault) and error.kind == "lost"):
                        raise
                    progress.end(f"failed: {error.line()}")
        return outcome

    def _make(self, case: Case, key: str, device: DevicePredictor, progress: _Progress) -> None:
        started = time.perf_counter()
        folder = self.record.folder
        with tempfile.TemporaryDirectory(prefix=".work-", dir=folder) as work:
            path = Path(work) / f"{case.id}{self.recipe.cases.mask_suffix(self.params)}"
            counted = _Counted(device, progress)
            classes = self.recipe.preparation.segment_and_save(case, counted, self.params, path)
            self.recipe.cases.write_mask(classes, case, path)
            if not np.array_equal(self.recipe.cases.read_mask(path, case), classes):
                raise DataError(f"the mask of {case.id} differs when it is read back", remedy="Check the disk.")
            names = sorted(found.name for found in Path(work).iterdir())
            for name in names:
                os.replace(Path(work) / name, folder / name)
        seconds = time.perf_counter() - started
        self.record.add(case.id, key, names, seconds)
        progress.end("; ".join([f"{seconds:.1f} s", *_remarks(classes), *device.recovered_errors()]))

    def _rules(self) -> dict[str, object]:
        """Everything besides a case's files that its mask depends on."""
        reached = project_code().reach((self.recipe.cases, self.recipe.preparation, type(self)))
        fields = self.params.own_fields() - self.params.NOT_IN_MASKS | {"target", "precision", "batch_size"}
        return {
            "model": self.model.digest,
            "rules": self.recipe.model.cache_key_extras(self.params),
            "params": self.params.model_dump(mode="json", include=fields),
            "code": reached.digest,
            "libraries": library_versions(reached.libraries),
        }


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
    """A predictor whose calls are counted."""

    def __init__(self, predictor: Predictor, progress: _Progress):
        self._predictor, self._progress = predictor, progress
        self.name, self.max_in_flight = predictor.name, predictor.max_in_flight
        self.simulated, self.fixed_batches = predictor.simulated, predictor.fixed_batches
        self.torch_network = predictor.torch_network

    def submit(self, batch: np.ndarray) -> Answer:
        self._progress.count()
        return self._predictor.submit(batch)

    def recovered_errors(self) -> list[str]:
        return self._predictor.recovered_errors()


def free_of_truth(cases: Sequence[CaseFiles]) -> Iterator[CaseFiles]:
    """The cases without their labels, which need not be read for a mask."""
    for files in cases:
        yield CaseFiles(files.id, files.files, None, files.notes)
