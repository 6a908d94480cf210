"""Append-only files of verdicts, one a reader: what was acknowledged is on the disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from helpers.errors import DataError
from helpers.qa.verdict import Verdict
from helpers.run.atomic import explain_full_disk

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
