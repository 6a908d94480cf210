"""Verdicts in append-only journals, one per reader, and their export; a confirmed verdict is on the disk."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from helpers.errors import DataError
from helpers.run.atomic import explain_full_disk
from helpers.run.csv_file import encode_text, write_csv

ACCEPT, REJECT, UNSURE = "accept", "reject", "unsure"
VERDICTS = (ACCEPT, REJECT, UNSURE)
JOURNALS = ".qa"  # folder below the outputs
QA_CSV, REJECTED_CSV = "qa.csv", "rejected.csv"
LONGEST_NOTE = 4000
_LONGEST_FILE_NAME = 200
_SUFFIX = ".jsonl"

T = TypeVar("T")
Subject = tuple[str, str, str, str]  # recipe, hash of the run, case, hash of the mask


@dataclass(frozen=True)
class Verdict:
    """One reader's verdict on one mask.

    `run_hash` and `mask_hash` identify what was judged: a verdict survives a rerun that makes the same mask, while a
    changed mask has to be reviewed again.

    Attributes:
        when: UTC, ISO 8601 with milliseconds.
        who: the reader.
        recipe: name of the run's recipe.
        run_hash: the hash over every parameter that affects the run's results.
        case: id.
        mask_hash: SHA-256 of the mask file.
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
        check_verdict(self.verdict, self.note)

    def subject(self) -> Subject:
        """The mask that was judged: recipe, run, case and hash."""
        return self.recipe, self.run_hash, self.case, self.mask_hash

    def to_line(self) -> bytes:
        """One line of JSON with its line break; line breaks in the note are escaped."""
        return encode_text(json.dumps(asdict(self), ensure_ascii=False) + "\n")

    @classmethod
    def from_line(cls, line: bytes) -> Verdict | None:
        """Parses a line; None if it is incomplete or not a verdict."""
        try:
            content = json.loads(line.decode("utf-8", "surrogateescape"))
            return cls(**{name: str(content[name]) for name in NAMES})
        except (ValueError, KeyError, TypeError, DataError, RecursionError):
            return None


def check_verdict(verdict: str, note: str) -> None:
    """Refuses an unknown verdict and a note that is too long.

    Raises:
        DataError: one of these.
    """
    if verdict not in VERDICTS:
        raise DataError("unknown verdict", received=repr(verdict), expected=", ".join(VERDICTS))
    if len(note) > LONGEST_NOTE:
        raise DataError(
            "the note is too long",
            received=f"{len(note)} characters",
            expected=f"at most {LONGEST_NOTE} characters",
        )


NAMES = tuple(field.name for field in fields(Verdict))


class LineFile:
    """A file of lines that survives kills: one write per line under a lock, on the disk before `append` returns.

    A line cut off by a kill or a full disk stays on a line of its own. Processes that append take turns.

    Args:
        folder: of the file; made with the first line.
        name: of the person whose lines it holds; any text of 1 to 60 characters.

    Raises:
        DataError: the name is empty or too long.
    """

    def __init__(self, folder: Path, name: str):
        self.name = name.strip()
        quoted = quote(self.name, safe=" @+=,")
        if not self.name or len(quoted) > _LONGEST_FILE_NAME:
            raise DataError("invalid reader's name", received=repr(name), expected="1 to 60 characters")
        # A leading dot would hide the file from users who copy the folder.
        self.path = folder / f"{quoted.replace('.', '%2E', 1) if quoted[0] == '.' else quoted}{_SUFFIX}"

    def append(self, line: bytes) -> None:
        """Writes a line that ends with its line break.

        Raises:
            ResourceError: the disk is full; nothing of the line is kept.
        """
        with explain_full_disk(self.path), self._locked() as file:
            end = os.lseek(file, 0, os.SEEK_END)
            torn = end > 0 and os.pread(file, 1, end - 1) != b"\n"
            try:
                _write_all(file, (b"\n" if torn else b"") + line)
                os.fsync(file)
            except OSError:
                os.ftruncate(file, end)
                raise

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


def read_lines(folder: Path, parse: Callable[[bytes], T | None]) -> tuple[list[T], int]:
    """Parses the lines of every `LineFile` of a folder, in the order of writing.

    Returns:
        What was parsed, and the number of lines that were cut off or are something else.
    """
    entries, torn = [], 0
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        for line in path.read_bytes().splitlines(keepends=True):
            entry = parse(line)
            if entry is not None:
                entries.append(entry)
            elif line.strip():
                torn += 1
    return entries, torn


def now() -> str:
    """UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Journal:
    """The verdicts of one reader in `<outputs>/.qa/<reader>.jsonl`, a `LineFile`; two readers have separate files.

    Args:
        outputs: the folder of the runs.
        reader: the name that verdicts are signed with; any text of 1 to 60 characters.

    Raises:
        DataError: the name is empty or too long.
    """

    def __init__(self, outputs: Path, reader: str):
        self._file = LineFile(outputs / JOURNALS, reader)
        self.reader, self.path = self._file.name, self._file.path

    def append(self, recipe: str, run_hash: str, case: str, mask_hash: str, verdict: str, note: str = "") -> Verdict:
        """Writes one verdict and returns it once it is on the disk.

        Raises:
            DataError: unknown verdict, or the note is too long.
            ResourceError: the disk is full; nothing of the verdict is kept.
        """
        entry = Verdict(now(), self.reader, recipe, run_hash, case, mask_hash, verdict, note)
        self._file.append(entry.to_line())
        return entry


@dataclass(frozen=True)
class Verdicts:
    """Every readable verdict, by reader and in the order of writing, and the number of lines that were cut off."""

    entries: tuple[Verdict, ...]
    torn_lines: int

    def latest(self) -> dict[Subject, dict[str, Verdict]]:
        """Each reader's latest verdict by subject: the one written last, whatever the clock said."""
        found: dict[Subject, dict[str, Verdict]] = {}
        for entry in self.entries:
            found.setdefault(entry.subject(), {})[entry.who] = entry
        return found

    def rejected(self) -> list[Verdict]:
        """The latest verdicts that reject a mask, in order of time; one reader's rejection is enough."""
        latest = [entry for by_reader in self.latest().values() for entry in by_reader.values()]
        return _in_time(entry for entry in latest if entry.verdict == REJECT)


def read_verdicts(outputs: Path) -> Verdicts:
    """Reads all journals of an outputs folder; a line without its end is still being written, or was cut off."""
    entries, torn = read_lines(outputs / JOURNALS, Verdict.from_line)
    return Verdicts(tuple(entries), torn)


def export_verdicts(verdicts: Verdicts, path: Path) -> Path:
    """Writes every verdict ever given, one per row in order of time; the last column marks each reader's latest."""
    latest = {id(entry) for by_reader in verdicts.latest().values() for entry in by_reader.values()}
    rows = [(*astuple(entry), "yes" if id(entry) in latest else "no") for entry in _in_time(verdicts.entries)]
    return write_csv(path, (*NAMES, "last word"), rows)


def export_rejected(verdicts: Verdicts, path: Path, rejected: Iterable[Verdict] | None = None) -> Path:
    """Writes the rejected masks, one per row, with the reader and the note; None takes `verdicts.rejected()`."""
    chosen = verdicts.rejected() if rejected is None else rejected
    return write_csv(path, NAMES, [astuple(entry) for entry in chosen])


def _in_time(entries: Iterable[Verdict]) -> list[Verdict]:
    return sorted(entries, key=lambda entry: entry.when)


def _write_all(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
