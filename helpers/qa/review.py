"""The cases of a run as a reviewer wants them: scores, flags, who said what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers.data.case import Case, CaseFiles
from helpers.errors import DataError
from helpers.qa.finished import FinishedRun
from helpers.qa.flags import Flag, MaskMeasures, flag_cases, measure_mask, recall_measures, remember_measures
from helpers.qa.journal import JOURNALS, Journal, Verdict, Verdicts, read_verdicts
from helpers.run.digest import digest_file, digest_value
from helpers.scoring.dice import dice, mean_of_known
from helpers.view.progress import show_progress


@dataclass(frozen=True)
class ReviewCase:
    """One row of the table: a case, its mean score (None without a truth), its flags and its mask's hash."""

    id: str
    score: float | None
    scores: dict[str, float | None]
    flags: tuple[Flag, ...]
    mask_hash: str


@dataclass
class Review:
    """A run under review by one reader, beside another run or alone.

    Attributes:
        run: whose masks are judged.
        other: a run of the same recipe to compare with, or None.
        outputs: the folder of the runs; journals are kept in it.
        journal: the reader's.
        cases: the worst first.
        verdicts: all readers' words as last read.
    """

    run: FinishedRun
    other: FinishedRun | None
    outputs: Path
    journal: Journal
    cases: list[ReviewCase] = field(default_factory=list)
    verdicts: Verdicts = field(default_factory=lambda: Verdicts((), 0))

    def __str__(self) -> str:
        done, total = self.progress()
        beside = f", beside {self.other.name}" if self.other else ""
        flagged = sum(bool(case.flags) for case in self.cases)
        return (
            f"{self.run.recipe.title}: run {self.run.name}{beside}; {total} cases, {flagged} with a flag;"
            f" {done} judged by {self.journal.reader}"
        )

    __repr__ = __str__

    def case(self, case_id: str) -> ReviewCase:
        """A row by its case.

        Raises:
            DataError: the run has no such case.
        """
        for case in self.cases:
            if case.id == case_id:
                return case
        raise DataError(f"the run has no case {case_id!r}", expected=", ".join(case.id for case in self.cases))

    def judge(self, case_id: str, verdict: str, note: str = "") -> Verdict:
        """Writes the reader's word on a case's mask; it is on the disk when this returns."""
        entry = self.journal.append(
            self.run.recipe.name, self.run.hash, case_id, self.case(case_id).mask_hash, verdict, note
        )
        self.refresh()
        return entry

    def refresh(self) -> None:
        """Reads what all readers have said by now."""
        self.verdicts = read_verdicts(self.outputs)
        self._latest = self.verdicts.latest()

    def words(self, case_id: str) -> dict[str, Verdict]:
        """Each reader's last word on the mask that is there now."""
        case = self.case(case_id)
        return self._latest.get((self.run.recipe.name, self.run.hash, case_id, case.mask_hash), {})

    def own_word(self, case_id: str) -> Verdict | None:
        """The reader's own last word."""
        return self.words(case_id).get(self.journal.reader)

    def progress(self) -> tuple[int, int]:
        """How many cases the reader has judged, and of how many."""
        return sum(self.own_word(case.id) is not None for case in self.cases), len(self.cases)


def open_review(
    run: FinishedRun,
    reader: str,
    outputs: Path,
    other: FinishedRun | None = None,
    interactive: bool | None = None,
) -> Review:
    """Reads a run's masks, flags what stands out and sorts the worst first.

    Cases with a score come by score, those without by the number of flags.
    """
    run.restore_demo_cases()
    files = {case.id: case for case in run.cases}
    masks = {name: digest_file(run.mask_path(name)) for name in files}
    measures, agreements = {}, {}
    for name in show_progress(list(files), "look at masks", interactive):
        measures[name] = _measures(run, files[name], outputs, masks[name])
        if other is not None:
            agreements[name] = _agreement(run, other, files[name])
    flags = flag_cases(measures, run.labels.names, agreements)
    cases = [_row(run, name, tuple(flags[name]), masks[name]) for name in files]
    review = Review(run, other, outputs, Journal(outputs, reader), sorted(cases, key=_worst_first))
    review.refresh()
    return review


def read_pair(run: FinishedRun, other: FinishedRun | None, files: CaseFiles) -> tuple[Case, object, object]:
    """A case with the run's mask and, where there is one on the same grid, the other run's."""
    case = run.recipe.cases.read_case(files, run.params)
    mask = run.recipe.cases.read_mask(run.mask_path(files.id), case)
    there = other is not None and other.mask_path(files.id).is_file()
    return case, mask, other.recipe.cases.read_mask(other.mask_path(files.id), case) if there else None


def _row(run: FinishedRun, name: str, flags: Sequence[Flag], mask_hash: str) -> ReviewCase:
    scores = dict(run.scores.get(name, {}))
    return ReviewCase(name, mean_of_known(list(scores.values())), scores, tuple(flags), mask_hash)


def _worst_first(case: ReviewCase) -> tuple:
    return case.score is None, case.score or 0.0, -len(case.flags), case.id


def _measures(run: FinishedRun, files: CaseFiles, outputs: Path, mask_hash: str) -> MaskMeasures:
    key = digest_value({"mask": mask_hash, "classes": run.labels.names})[:32]
    path = outputs / JOURNALS / "measures" / f"{key}.json"
    known = recall_measures(path)
    if known is not None:
        return known
    case, mask, _ = read_pair(run, None, files)
    spacing = case.geometry.spacing_mm_zyx if case.geometry else None
    return remember_measures(path, measure_mask(mask, len(run.labels), spacing))


def _agreement(run: FinishedRun, other: FinishedRun, files: CaseFiles) -> float | None:
    if not other.mask_path(files.id).is_file():
        return None
    if digest_file(other.mask_path(files.id)) == digest_file(run.mask_path(files.id)):
        return 1.0
    _, mask, others = read_pair(run, other, files)
    return mean_of_known(list(_dice_of_labels(mask, others, len(run.labels))))


def _dice_of_labels(mask, others, class_count: int) -> Iterable[float | None]:
    return (dice(mask == index, others == index) for index in range(1, class_count))
