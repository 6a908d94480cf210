"""Runs a vendor's program without a shell, in a clean environment, with a log and a time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from helpers.errors import CompileError, last_line
from helpers.run.environment import scrubbed_environment
from helpers.run.orphans import ends_with_this_process

_POLL_INTERVAL_S = 0.2


@dataclass(frozen=True)
class ProgramResult:
    """The exit code, the duration and the peak memory (children included) of a program."""

    exit_code: int
    seconds: float
    peak_rss_mb: float


def run_program(
    command: Sequence[str],
    log: Path,
    timeout_s: float,
    *,
    title: str,
    report: Callable[[str], None] | None = None,
) -> str:
    """Runs a program as `run_logged` does and returns the last line that it printed.

    Raises:
        CompileError: it cannot be started, fails, is killed by a signal or takes too long; its children are killed.
    """
    result = run_logged(command, log, timeout_s, title=title, report=report)
    last = last_line(log.read_text(encoding="utf-8", errors="replace"))
    if result.exit_code:
        signalled = result.exit_code < 0
        how = f"signal {-result.exit_code}" if signalled else f"exit code {result.exit_code}"
        raise CompileError(f"{title} failed", received="; ".join(filter(None, [how, last])), remedy=f"Read {log}.")
    return last


def run_logged(
    command: Sequence[str],
    log: Path,
    timeout_s: float,
    *,
    title: str,
    folder: Path | None = None,
    report: Callable[[str], None] | None = None,
) -> ProgramResult:
    """Runs a program and returns its result, whatever the exit code.

    Args:
        command, log: the program and its arguments, and the file that receives everything that it prints.
        timeout_s: the program and its children are killed after this time.
        title: the program's name in messages.
        folder: working directory.
        report: receives a line with the elapsed time and the memory several times per second.

    Raises:
        CompileError: it cannot be started, or takes too long.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    started, peak = time.monotonic(), 0.0
    with log.open("wb") as stream, ends_with_this_process() as watch:
        process = _start(command, stream, folder, title)
        watch(process)
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return ProgramResult(process.wait(_POLL_INTERVAL_S), time.monotonic() - started, peak)
                seconds, now = time.monotonic() - started, _resident_mb(process.pid)
                peak = max(peak, now)
                if report:
                    report(f"{title} has been running for {seconds:.0f} s and uses {now:.0f} MB")
                if seconds > timeout_s:
                    raise CompileError(f"{title} took longer than {timeout_s:g} s", remedy=f"Read {log}.")
        finally:
            if process.poll() != 0:
                _kill_group(process)


def _kill_group(process: subprocess.Popen) -> None:
    """Kills a program and the children that may outlive it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _start(command: Sequence[str], stream: IO[bytes], folder: Path | None, title: str) -> subprocess.Popen:
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(os.environ) if command[0] == sys.executable else scrubbed_environment(),
            start_new_session=True,
        )
    except OSError as error:
        raise CompileError(
            f"{title} cannot be started", received=f"{command[0]} ({error.strerror})", remedy="Correct its path."
        ) from None


def _resident_mb(pid: int) -> float:
    total = 0.0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += each.memory_info().rss / 1e6
    return total
