"""`qa.csv` and the list of rejected masks."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from helpers.qa.journal import Verdicts
from helpers.qa.verdict import NAMES, REJECT, Verdict
from helpers.run.atomic import replace_when_whole

QA_CSV, REJECTED_CSV = "qa.csv", "rejected.csv"


def export_verdicts(verdicts: Verdicts, path: Path) -> Path:
    """Every verdict ever given, one a row, in order of time; the last column marks each reader's last word."""
    latest = {id(entry) for by_reader in verdicts.latest().values() for entry in by_reader.values()}
    rows = [(*_row(entry), "yes" if id(entry) in latest else "no") for entry in _in_time(verdicts.entries)]
    return _write_csv(path, (*NAMES, "last word"), rows)


def rejected(verdicts: Verdicts) -> list[Verdict]:
    """The last words that reject, in order of time; one reader's rejection is enough."""
    words = [entry for by_reader in verdicts.latest().values() for entry in by_reader.values()]
    return _in_time(entry for entry in words if entry.verdict == REJECT)


def export_rejected(verdicts: Verdicts, path: Path) -> Path:
    """The rejected masks with who said so and why."""
    return _write_csv(path, NAMES, [_row(entry) for entry in rejected(verdicts)])


def _in_time(entries: Iterable[Verdict]) -> list[Verdict]:
    return sorted(entries, key=lambda entry: entry.when)


def _row(entry: Verdict) -> tuple[str, ...]:
    return tuple(getattr(entry, name) for name in NAMES)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows(rows)
    with replace_when_whole(path) as temporary:
        # The mark at the beginning tells spreadsheets that the letters are UTF-8.
        temporary.write_text(stream.getvalue(), encoding="utf-8-sig", newline="", errors="surrogateescape")
    return path
