"""The cases of a finished run in the order to review them: scores, flags and every reader's verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from helpers.data.case import Case
from helpers.params.yaml_file import unknown_name_error
from helpers.qa.adjudication import Adjudication, Adjudications, adjudicate, read_adjudications
from helpers.qa.agreement import Agreement, compare_readers
from helpers.qa.finished import FinishedRun, find_case
from helpers.qa.flags import Flag, MaskMeasures, flag_cases, load_measures, measure_mask, save_measures
from helpers.qa.journal import JOURNALS, Journal, Subject, Verdict, Verdicts, read_verdicts
from helpers.run.digest import digest_file, digest_value
from helpers.scoring.dice import dice, mean_of_known
from helpers.scoring.volume_metrics import metric_of
from helpers.view.progress import show_progress

MEAN_SCORE, FLAGS, DISAGREEMENT = "mean score", "flags", "disagreement of readers"


@dataclass(frozen=True)
class ReviewCase:
    """One case under review.

    Attributes:
        score: the mean of its scores; None without a truth.
        scores: by name.
        metrics: surface, volume and lesion metrics by name.
        flags: reasons to look at it first.
        mask_hash: SHA-256 of its mask.
    """

    id: str
    score: float | None
    scores: dict[str, float | None]
    metrics: dict[str, float | None]
    flags: tuple[Flag, ...]
    mask_hash: str


@dataclass
class Review:
    """A run under review by one reader, alone or compared with another run.

    Attributes:
        run: whose masks are judged.
        other: a run of the same recipe to compare with, or None.
        outputs: the folder of the runs, which also holds the journals.
        journal: the reader's.
        cases: the worst first, by `order_by`.
        order_by: one of `order_names`.
        verdicts, adjudications: of all readers, as last read.
    """

    run: FinishedRun
    other: FinishedRun | None
    outputs: Path
    journal: Journal
    cases: list[ReviewCase] = field(default_factory=list)
    order_by: str = MEAN_SCORE
    verdicts: Verdicts = field(default_factory=lambda: Verdicts((), 0))
    adjudications: Adjudications = field(default_factory=lambda: Adjudications((), 0))

    def __str__(self) -> str:
        done, total = self.progress()
        compared = f", compared with {self.other.name}" if self.other else ""
        flagged = sum(bool(case.flags) for case in self.cases)
        return (
            f"{self.run.recipe.title}: run {self.run.name}{compared}; {total} cases, {flagged} flagged;"
            f" {done} reviewed by {self.journal.reader}"
        )

    __repr__ = __str__

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores in the order of tables; empty if no case has a truth."""
        return self.run.score_names if self.run.scores else ()

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The surface, volume and lesion metrics that the run measured, in the order of `metrics.json`."""
        return tuple(dict.fromkeys(name for case in self.cases for name in case.metrics))

    @property
    def order_names(self) -> tuple[str, ...]:
        """What the cases can be sorted by, the worst first."""
        return (MEAN_SCORE, *self.score_names, *self.metric_names, FLAGS, DISAGREEMENT)

    def sort(self, order_by: str) -> None:
        """Sorts the cases, the worst first; those that have no value of a metric come last.

        Args:
            order_by: one of `order_names`.

        Raises:
            ParameterError: it is another name.
        """
        if order_by not in self.order_names:
            raise unknown_name_error("order", order_by, self.order_names)
        self.order_by = order_by
        if order_by == DISAGREEMENT:
            places = {case.case: place for place, case in enumerate(self.agreement().cases)}
            self.cases.sort(key=lambda case: places[case.id])
        else:
            self.cases.sort(key=lambda case: _worst_first(case, order_by))

    def case(self, case_id: str) -> ReviewCase:
        """Finds a case by its id.

        Raises:
            DataError: the run has no such case.
        """
        return find_case(self.cases, case_id)

    def judge(self, case_id: str, verdict: str, note: str = "") -> Verdict:
        """Writes the reader's verdict on a case's mask; it is on the disk when this returns."""
        entry = self.journal.append(
            self.run.recipe.name, self.run.hash, case_id, self.case(case_id).mask_hash, verdict, note
        )
        self.refresh()
        return entry

    def refresh(self) -> None:
        """Reads the journals of all readers again."""
        self.verdicts = read_verdicts(self.outputs)
        self.adjudications = read_adjudications(self.outputs)
        self._latest = self.verdicts.latest()

    def latest_verdicts(self, case_id: str) -> dict[str, Verdict]:
        """Each reader's latest verdict on the current mask of a case."""
        return self._latest.get(self.subject(case_id), {})

    def own_verdict(self, case_id: str) -> Verdict | None:
        """The reader's own latest verdict on the current mask of a case."""
        return self.latest_verdicts(case_id).get(self.journal.reader)

    def agreement(self) -> Agreement:
        """Compares the readers of the run, as their journals were last read."""
        masks = {case.id: case.mask_hash for case in self.cases}
        return compare_readers(self.run, masks, self.verdicts, self.adjudications)

    def adjudicate(self, case_id: str, decision: str, note: str = "") -> Adjudication:
        """Writes the reader's decision between the verdicts on a case's mask; it is on the disk when this returns.

        Raises:
            DataError: fewer than two readers have judged the mask.
        """
        latest = self.latest_verdicts(case_id)
        entry = adjudicate(self.outputs, self.journal.reader, self.subject(case_id), latest, decision, note)
        self.refresh()
        return entry

    def subject(self, case_id: str) -> Subject:
        """What a verdict on the current mask of a case is about."""
        return self.run.recipe.name, self.run.hash, case_id, self.case(case_id).mask_hash

    def progress(self) -> tuple[int, int]:
        """The number of cases that the reader has judged, and of all cases."""
        return sum(self.own_verdict(case.id) is not None for case in self.cases), len(self.cases)


def open_review(
    run: FinishedRun,
    reader: str,
    outputs: Path,
    other: FinishedRun | None = None,
    interactive: bool | None = None,
    order_by: str = MEAN_SCORE,
) -> Review:
    """Measures a run's masks, flags unusual ones and sorts the worst cases first.

    By their mean score, unless `order_by` names another; cases without scores are sorted by their number of flags.

    Raises:
        ParameterError: `order_by` is none of the review's `order_names`.
    """
    run.restore_demo_cases()
    names = [case.id for case in run.cases]
    masks = {name: digest_file(run.mask_path(name)) for name in names}
    measures, agreements = {}, {}
    for name in show_progress(names, "measure masks", interactive):
        measures[name] = _measure(run, name, outputs, masks[name])
        if other is not None:
            agreements[name] = _agreement(run, other, name)
    flags = flag_cases(measures, run.labels.names, agreements)
    cases = [_review_case(run, name, flags[name], masks[name]) for name in names]
    review = Review(run, other, outputs, Journal(outputs, reader), cases)
    review.refresh()
    review.sort(order_by)
    return review


def read_masks(
    run: FinishedRun, other: FinishedRun | None, case_id: str
) -> tuple[Case, np.ndarray, np.ndarray | None]:
    """Reads a case with the run's mask and, if there is one on the same grid, the other run's.

    Raises:
        DataError: a file cannot be read, or a mask is not on the case's grid.
    """
    case = run.read_case(case_id)
    others = other.read_mask(case) if other is not None and other.has_mask(case_id) else None
    return case, run.read_mask(case), others


def review_folder(outputs: Path, run: FinishedRun) -> Path:
    """Where tables, pages and pictures of a run's review are written; the run's own folder stays as it is."""
    return outputs / "qa" / run.recipe.name / run.name


def _review_case(run: FinishedRun, name: str, flags: Sequence[Flag], mask_hash: str) -> ReviewCase:
    scores, metrics = dict(run.scores.get(name, {})), dict(run.metrics.get(name, {}))
    return ReviewCase(name, mean_of_known(list(scores.values())), scores, metrics, tuple(flags), mask_hash)


def _worst_first(case: ReviewCase, order_by: str) -> tuple[bool, float, int, str]:
    value = case.score if order_by == MEAN_SCORE else {**case.metrics, **case.scores}.get(order_by)
    if order_by == FLAGS:
        value = -float(len(case.flags))
    better = metric_of(order_by).better
    badness = (
        0.0 if value is None else value if better == "larger" else -value if better == "smaller" else -abs(value)
    )
    return value is None, badness, -len(case.flags), case.id


def _measure(run: FinishedRun, case_id: str, outputs: Path, mask_hash: str) -> MaskMeasures:
    key = digest_value({"mask": mask_hash, "classes": run.labels.names})[:32]
    path = outputs / JOURNALS / "measures" / f"{key}.json"
    measures = load_measures(path)
    if measures is None or not measures.is_complete:  # an earlier version measured no shapes
        case, mask, _ = read_masks(run, None, case_id)
        grid = case.geometry
        spacing = grid.spacing_mm_zyx if grid else None
        affine = grid.affine_lps() if grid and grid.is_patient else None
        measures = measure_mask(mask, len(run.labels), spacing, affine)
        save_measures(path, measures)
    return measures


def _agreement(run: FinishedRun, other: FinishedRun, case_id: str) -> float | None:
    """The mean Dice over labels between two runs' masks; None if the other run has none."""
    if not other.has_mask(case_id):
        return None
    if digest_file(other.mask_path(case_id)) == digest_file(run.mask_path(case_id)):
        return 1.0
    case = run.read_case(case_id)
    mask, others = run.read_mask(case), other.read_mask(case)
    indices = run.labels.foreground.values()
    return mean_of_known([dice(np.equal(mask, index), np.equal(others, index)) for index in indices])
