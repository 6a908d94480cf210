"""Several readers' verdicts on the masks of one run, case by case: who disagrees, how much, and what was decided."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import DataError
from helpers.qa.adjudication import Adjudication, Adjudications, read_adjudications
from helpers.qa.finished import FinishedRun
from helpers.qa.journal import ACCEPT, REJECT, Subject, Verdict, Verdicts, read_verdicts
from helpers.qa.kappa import Kappa, measure_agreement
from helpers.run.digest import digest_file


@dataclass(frozen=True)
class CaseAgreement:
    """One mask and what the readers say of it.

    Attributes:
        case: id.
        subject: the mask.
        verdicts: each compared reader's latest, by reader.
        adjudication: the latest, or None.
        is_decided: whether the adjudication holds: no reader has judged since.
    """

    case: str
    subject: Subject
    verdicts: Mapping[str, Verdict]
    adjudication: Adjudication | None
    is_decided: bool

    @property
    def disagrees(self) -> bool:
        """Whether two readers gave different verdicts."""
        return len({entry.verdict for entry in self.verdicts.values()}) > 1

    @property
    def final(self) -> str:
        """The adjudicated verdict, else the one that all readers gave; empty while it is open."""
        if self.adjudication is not None and self.is_decided:
            return self.adjudication.decision
        given = {entry.verdict for entry in self.verdicts.values()}
        return given.pop() if len(given) == 1 else ""

    @property
    def status(self) -> str:
        """In one phrase: unread, one reader, agreed, disagreement, adjudicated, or judged again since."""
        if self.adjudication is not None:
            return "adjudicated" if self.is_decided else "judged again since the adjudication"
        if len(self.verdicts) < 2:
            return "one reader" if self.verdicts else "unread"
        return "disagreement" if self.disagrees else "agreed"

    def rank(self) -> tuple[int, str]:
        """Sorts open disagreements first, accept against reject before the others."""
        if not self.disagrees:
            return (3 if len(self.verdicts) > 1 else 4 if self.verdicts else 5), self.case
        given = {entry.verdict for entry in self.verdicts.values()}
        return 2 if self.is_decided else 0 if {ACCEPT, REJECT} <= given else 1, self.case


@dataclass(frozen=True)
class Agreement:
    """The readers of a run.

    Attributes:
        recipe, run: names.
        readers: whose verdicts are compared, in order of name.
        cases: open disagreements first.
        overall: of all readers together; None with fewer than two.
        pairs: of each two readers, if there are three or more.
        notes: what was left out, and why; one sentence each.
    """

    recipe: str
    run: str
    readers: tuple[str, ...]
    cases: tuple[CaseAgreement, ...]
    overall: Kappa | None
    pairs: tuple[Kappa, ...]
    notes: tuple[str, ...]


def compare_readers(
    run: FinishedRun,
    masks: Mapping[str, str],
    verdicts: Verdicts,
    adjudications: Adjudications,
    readers: Sequence[str] | None = None,
) -> Agreement:
    """Compares the readers' latest verdicts on the current masks of a run.

    Args:
        run: whose masks.
        masks: case to the hash of its mask.
        verdicts, adjudications: of all readers and runs.
        readers: whose verdicts to compare; None: of all who judged a mask of the run.

    Raises:
        DataError: a named reader has judged no mask of the run.
    """
    latest, decided = verdicts.latest(), adjudications.latest()
    subjects = {case: (run.recipe.name, run.hash, case, mask) for case, mask in masks.items()}
    found = {case: latest.get(subject, {}) for case, subject in subjects.items()}
    present = sorted({who for by_reader in found.values() for who in by_reader})
    chosen = _choose(present, readers, run)
    cases = [_case(subject, found[subject[2]], chosen, decided.get(subject)) for subject in subjects.values()]
    pairs = itertools.combinations(chosen, 2) if len(chosen) > 2 else ()
    overall = _kappa(cases, chosen) if len(chosen) > 1 else None
    notes = [
        *_note_shared(cases, chosen, overall),
        *_note_changed(run, masks, verdicts),
        *_note_torn(verdicts.torn_lines + adjudications.torn_lines),
    ]
    ordered = tuple(sorted(cases, key=CaseAgreement.rank))
    each = tuple(_kappa(cases, pair) for pair in pairs)
    return Agreement(run.recipe.name, run.name, tuple(chosen), ordered, overall, each, tuple(notes))


def open_agreement(run: FinishedRun, outputs: Path, readers: Sequence[str] | None = None) -> Agreement:
    """Reads the masks and journals of a run and compares its readers; see `compare_readers`."""
    masks = {case.id: digest_file(run.mask_path(case.id)) for case in run.cases}
    return compare_readers(run, masks, read_verdicts(outputs), read_adjudications(outputs), readers)


def mask_subject(run: FinishedRun, case_id: str) -> Subject:
    """What a verdict on the current mask of a case is about.

    Raises:
        DataError: the run has no such case.
    """
    return run.recipe.name, run.hash, case_id, digest_file(run.mask_path(run.case_files(case_id).id))


def _choose(present: Sequence[str], readers: Sequence[str] | None, run: FinishedRun) -> list[str]:
    chosen = list(dict.fromkeys(present if readers is None else readers))
    unknown = [who for who in chosen if who not in present]
    if unknown:
        raise DataError(
            f"no verdict of {', '.join(unknown)} on the masks of {run.recipe.name}/{run.name}",
            expected=", ".join(present) or "no reader has judged one yet",
        )
    return chosen


def _case(
    subject: Subject, latest: Mapping[str, Verdict], readers: Sequence[str], adjudication: Adjudication | None
) -> CaseAgreement:
    own = {who: latest[who] for who in readers if who in latest}
    return CaseAgreement(
        subject[2], subject, own, adjudication, adjudication is not None and adjudication.holds(latest)
    )


def _kappa(cases: Sequence[CaseAgreement], readers: Sequence[str]) -> Kappa:
    shared = [case.verdicts for case in cases if all(who in case.verdicts for who in readers)]
    return measure_agreement(readers, [[entries[who].verdict for who in readers] for entries in shared])


def _note_shared(cases: Sequence[CaseAgreement], readers: Sequence[str], overall: Kappa | None) -> list[str]:
    if overall is None:
        who = f"only {readers[0]} has judged a mask" if readers else "no reader has judged a mask"
        return [f"Agreement needs two readers or more: {who}."]
    counts = Counter(who for case in cases for who in case.verdicts)
    if all(counts[who] == overall.cases for who in readers):
        return []
    each = ", ".join(f"{who} {counts[who]}" for who in readers)
    return [f"Only the {overall.cases} cases that all readers judged count (judged: {each})."]


def _note_changed(run: FinishedRun, masks: Mapping[str, str], verdicts: Verdicts) -> list[str]:
    old = [
        entry
        for (recipe, run_hash, case, mask), by_reader in verdicts.latest().items()
        if (recipe, run_hash) == (run.recipe.name, run.hash) and masks.get(case) != mask
        for entry in by_reader.values()
    ]
    if not old:
        return []
    names = ", ".join(sorted({entry.case for entry in old}))
    return [f"Verdicts that do not count, because the mask has changed since or is gone: {len(old)} ({names})."]


def _note_torn(lines: int) -> list[str]:
    return [f"Lines of journals that a crash cut off, or of another program: {lines}, ignored."] if lines else []
