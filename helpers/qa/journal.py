"""Append-only files of verdicts, one a reader: what was acknowledged is on the disk."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from helpers.errors import DataError
from helpers.run.atomic import explain_full_disk, replace_when_whole

ACCEPT, REJECT, UNSURE = "accept", "reject", "unsure"
VERDICTS = (ACCEPT, REJECT, UNSURE)
LONGEST_NOTE = 4000


@dataclass(frozen=True)
class Verdict:
    """What was judged, by whom and when.

    `run_hash` and `mask_hash` say what the word holds for: a rerun that makes the same mask keeps it, a mask that
    changed has to be looked at again.

    Attributes:
        when: UTC, ISO 8601 with milliseconds.
        who: the reader.
        recipe, run_hash: of the run, the hash over every parameter that decides its results.
        case: id.
        mask_hash: SHA-256 of the mask's file.
        verdict: one of `VERDICTS`.
        note: free text.
    """

    when: str
    who: str
    recipe: str
    run_hash: str
    case: str
    mask_hash: str
    verdict: str
    note: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise DataError("unknown verdict", received=repr(self.verdict), expected=", ".join(VERDICTS))
        if len(self.note) > LONGEST_NOTE:
            raise DataError(
                "the note is too long", received=len(self.note), expected=f"at most {LONGEST_NOTE} letters"
            )

    def subject(self) -> tuple[str, str, str, str]:
        """What the verdict is about: recipe, run, case and mask."""
        return self.recipe, self.run_hash, self.case, self.mask_hash

    def to_line(self) -> bytes:
        """One line of JSON with its line break; text of any script stays on that line."""
        return (json.dumps(asdict(self), ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape")

    @classmethod
    def from_line(cls, line: bytes) -> Verdict | None:
        """The verdict of a line, or None where the line is torn or no verdict."""
        try:
            content = json.loads(line)
            return cls(**{name: str(content[name]) for name in NAMES})
        except (ValueError, KeyError, TypeError, DataError):
            return None


NAMES = tuple(field.name for field in fields(Verdict))


JOURNALS = ".qa"
_SUFFIX = ".jsonl"


class Journal:
    """The verdicts of one reader in `<outputs>/.qa/<reader>.jsonl`.

    Each verdict is one write of one line under a lock, flushed to the disk before `append` returns. A line that was
    torn by a kill or a full disk stays alone on its line and is not read; two processes of the same reader take
    turns, two readers have a file each.

    Args:
        outputs: the folder of the runs.
        reader: whose word it is; any text of 1 to 60 letters.
    """

    def __init__(self, outputs: Path, reader: str):
        self.reader = reader.strip()
        name = quote(self.reader, safe=" @+=,")
        if not self.reader or len(name) > 200:
            raise DataError("no reader's name", received=repr(reader), expected="1 to 60 letters")
        # A leading dot would hide the file from those who copy the folder.
        self.path = outputs / JOURNALS / f"{name.replace('.', '%2E', 1) if name[0] == '.' else name}{_SUFFIX}"

    def append(self, recipe: str, run_hash: str, case: str, mask_hash: str, verdict: str, note: str = "") -> Verdict:
        """Writes one verdict and returns it once it is on the disk.

        Raises:
            DataError: an unknown verdict.
            ResourceError: the disk is full; nothing of the verdict is kept.
        """
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        entry = Verdict(when, self.reader, recipe, run_hash, case, mask_hash, verdict, note)
        with explain_full_disk(self.path), self._locked() as file:
            end = os.lseek(file, 0, os.SEEK_END)
            torn = end > 0 and os.pread(file, 1, end - 1) != b"\n"
            try:
                _write_all(file, (b"\n" if torn else b"") + entry.to_line())
                os.fsync(file)
            except OSError:
                os.ftruncate(file, end)
                raise
        return entry

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if new:
                _sync_folder(self.path.parent)
            yield file
        finally:
            os.close(file)


@dataclass(frozen=True)
class Verdicts:
    """Every readable verdict, reader by reader in the order of writing, and how many lines were torn."""

    entries: tuple[Verdict, ...]
    torn_lines: int

    def latest(self) -> dict[tuple[str, str, str, str], dict[str, Verdict]]:
        """For each subject, each reader's last word: the one written last, whatever the clock said."""
        found: dict[tuple[str, str, str, str], dict[str, Verdict]] = {}
        for entry in self.entries:
            found.setdefault(entry.subject(), {})[entry.who] = entry
        return found


def read_verdicts(outputs: Path) -> Verdicts:
    """All journals below an outputs folder; a line without its end is still being written or torn."""
    entries, torn = [], 0
    for path in sorted((outputs / JOURNALS).glob(f"*{_SUFFIX}")):
        for line in path.read_bytes().splitlines(keepends=True):
            entry = Verdict.from_line(line)
            if entry is not None:
                entries.append(entry)
            elif line.strip():
                torn += 1
    return Verdicts(tuple(entries), torn)


def _write_all(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
