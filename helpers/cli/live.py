"""What `cookbook run` shows while a notebook runs: the section, a bar, the cases, the time left; and its result."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TextIO

from helpers.errors import CookbookError

_REFRESH_S = 0.5
_BAR = 20  # characters
# Called before each cell with its section, its number from 0 on, the number of cells, and the folder of the run.
CellObserver = Callable[[str, int, int, Path], None]
_OBSERVER: ContextVar[CellObserver | None] = ContextVar("cell_observer", default=None)


def cell_observer() -> CellObserver | None:
    """The function to call before each cell of the notebook that is about to run."""
    return _OBSERVER.get()


@contextlib.contextmanager
def show_cells(stream: TextIO, *, verbose: bool, quiet: bool) -> Iterator[bool]:
    """Shows on a stream how far the notebooks within are; yields whether anything is shown.

    Args:
        stream: a terminal gets one line that moves; anything else gets a line per section, if `verbose`.
        verbose, quiet: the options `-v` and `-q`.
    """
    moves = stream.isatty() and not verbose
    if quiet or not (moves or verbose):
        yield False
        return
    shown = _MovingLine(stream) if moves else _Lines(stream)
    token = _OBSERVER.set(shown.show)
    try:
        yield True
    finally:
        _OBSERVER.reset(token)
        shown.close()


def describe_result(folder: Path) -> list[str]:
    """Lines about a run that ended: mean scores, gates, report and log."""
    record, metrics = _read(folder / "run.json"), _read(folder / "metrics.json")
    mean = metrics.get("mean", {})
    scores = [f"{name} {value:.4f}" for name, value in mean.items() if isinstance(value, float | int)]
    stages = record.get("stages", {}).values()
    checks = [check for stage in stages for check in stage.get("checks", ())]
    passed = sum(bool(check.get("passed")) for check in checks)
    lines = [f"scores: {', '.join(scores) or 'none; no case has a truth'}", f"gates: {passed} of {len(checks)} hold"]
    lines += [f"{name}: {folder / file}" for name, file in (("report", "report.html"), ("log", "run.log"))]
    return lines


class _Lines:
    """A line per section: for logs."""

    def __init__(self, stream: TextIO):
        self._stream, self._section, self._started = stream, "", time.monotonic()

    def show(self, section: str, index: int, count: int, folder: Path) -> None:
        if section != self._section:
            self._section = section
            self._stream.write(f"{_clock(time.monotonic() - self._started)} {section}\n")
            self._stream.flush()

    def close(self) -> None:
        pass


class _MovingLine:
    """One line of a terminal that is written again twice a second."""

    def __init__(self, stream: TextIO):
        self._stream, self._started = stream, time.monotonic()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._at: tuple[str, int, int, Path] | None = None
        self._thread = threading.Thread(target=self._refresh, name="live-line", daemon=True)
        self._thread.start()

    def show(self, section: str, index: int, count: int, folder: Path) -> None:
        with self._lock:
            self._at = section, index, count, folder
        self._write()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._put("")

    def _refresh(self) -> None:
        while not self._stop.wait(_REFRESH_S):
            self._write()

    def _write(self) -> None:
        with self._lock:
            at = self._at
        if at is not None:
            section, index, count, folder = at
            filled = _BAR * index // max(1, count)
            bar = "#" * filled + "-" * (_BAR - filled)
            cases = _describe_cases(folder)
            self._put(f"{_clock(time.monotonic() - self._started)} [{bar}] {section}{cases}")

    def _put(self, line: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        with contextlib.suppress(OSError):
            self._stream.write(f"\r\x1b[K{line[:width]}")
            self._stream.flush()


def _describe_cases(folder: Path) -> str:
    """The cases that have a mask and the time left, once the masks are being made."""
    from helpers.run.case_status import read_case_status, show_duration

    try:
        status = read_case_status(folder)
    except CookbookError:
        return ""
    if status.status != "running" or status.total is None or not (status.done or status.running):
        return ""
    left = f", about {show_duration(status.seconds_left)} left" if status.seconds_left else ""
    return f": {status.done} of {status.total} cases{left}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _read(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
