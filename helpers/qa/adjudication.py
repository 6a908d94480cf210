"""Adjudications: a named reader's decision between verdicts, kept next to them and never in their place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from helpers.errors import DataError
from helpers.qa.journal import JOURNALS, REJECT, LineFile, Subject, Verdict, Verdicts, check_verdict, now, read_lines
from helpers.run.csv_file import encode_text

_FOLDER = "adjudications"


@dataclass(frozen=True)
class Adjudication:
    """One decision on one mask.

    Attributes:
        when: UTC, ISO 8601 with milliseconds.
        who: the reader who decides.
        recipe, run_hash, case, mask_hash: what is decided on, as in `Verdict`.
        decision: one of `VERDICTS`.
        verdicts: reader to verdict at that time. When a reader judges again, the decision no longer holds.
        note: free text.
    """

    when: str
    who: str
    recipe: str
    run_hash: str
    case: str
    mask_hash: str
    decision: str
    verdicts: Mapping[str, str]
    note: str = ""

    def __post_init__(self) -> None:
        check_verdict(self.decision, self.note)

    def subject(self) -> Subject:
        """The mask that was decided on: recipe, run, case and hash."""
        return self.recipe, self.run_hash, self.case, self.mask_hash

    def holds(self, latest: Mapping[str, Verdict]) -> bool:
        """Whether the readers' latest verdicts are still those that were adjudicated."""
        return {who: entry.verdict for who, entry in latest.items()} == dict(self.verdicts)

    def as_verdict(self) -> Verdict:
        """The decision in the form of a verdict, for a list of rejected masks."""
        return Verdict(self.when, self.who, *self.subject(), self.decision, self.note)

    def to_line(self) -> bytes:
        """One line of JSON with its line break."""
        return encode_text(json.dumps(asdict(self), ensure_ascii=False) + "\n")

    @classmethod
    def from_line(cls, line: bytes) -> Adjudication | None:
        """Parses a line; None if it is incomplete or not an adjudication."""
        try:
            content = json.loads(line.decode("utf-8", "surrogateescape"))
            verdicts = {str(who): str(verdict) for who, verdict in content.pop("verdicts").items()}
            texts = {name: str(value) for name, value in content.items()}
            return cls(**texts, verdicts=verdicts)
        except (ValueError, KeyError, TypeError, AttributeError, DataError, RecursionError):
            return None


def adjudicate(
    outputs: Path, who: str, subject: Subject, latest: Mapping[str, Verdict], decision: str, note: str = ""
) -> Adjudication:
    """Writes a decision to `<outputs>/.qa/adjudications/<who>.jsonl`; it is on the disk when this returns.

    Args:
        outputs: the folder of the runs.
        who: the reader who decides.
        subject: the mask.
        latest: each reader's latest verdict on it.
        decision: one of `VERDICTS`.
        note: free text.

    Raises:
        DataError: fewer than two readers have judged the mask, unknown decision, or the note is too long.
        ResourceError: the disk is full; nothing of the decision is kept.
    """
    if len(latest) < 2:
        raise DataError(
            f"nothing to adjudicate in {subject[2]}",
            received=", ".join(f"{name}: {entry.verdict}" for name, entry in latest.items()) or "no verdict",
            expected="verdicts of two readers or more on the current mask",
        )
    file = LineFile(outputs / JOURNALS / _FOLDER, who)
    verdicts = {name: entry.verdict for name, entry in latest.items()}
    entry = Adjudication(now(), file.name, *subject, decision, verdicts, note)
    file.append(entry.to_line())
    return entry


@dataclass(frozen=True)
class Adjudications:
    """Every readable adjudication, and the number of lines that were cut off."""

    entries: tuple[Adjudication, ...]
    torn_lines: int

    def latest(self) -> dict[Subject, Adjudication]:
        """The latest adjudication by mask: of each reader the one written last, of these the latest in time."""
        last: dict[tuple[Subject, str], Adjudication] = {}
        for entry in self.entries:
            last[entry.subject(), entry.who] = entry
        return {entry.subject(): entry for entry in sorted(last.values(), key=lambda entry: entry.when)}


def read_adjudications(outputs: Path) -> Adjudications:
    """Reads the adjudications of all readers of an outputs folder."""
    entries, torn = read_lines(outputs / JOURNALS / _FOLDER, Adjudication.from_line)
    return Adjudications(tuple(entries), torn)


def list_rejected(verdicts: Verdicts, adjudications: Adjudications) -> list[Verdict]:
    """The rejected masks: where an adjudication holds it decides, elsewhere one reader's rejection is enough."""
    latest = verdicts.latest()
    holding = {
        subject: entry for subject, entry in adjudications.latest().items() if entry.holds(latest.get(subject, {}))
    }
    own = [entry for entry in verdicts.rejected() if entry.subject() not in holding]
    decided = [entry.as_verdict() for entry in holding.values() if entry.decision == REJECT]
    return sorted([*own, *decided], key=lambda entry: entry.when)
