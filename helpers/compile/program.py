"""Runs a vendor's program: no shell, our environment scrubbed from its own, a log kept, a time limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from helpers.errors import CompileError

# Variables of this environment that would lead another interpreter to our packages.
_SCRUBBED = ("PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP", "PYTHONPATH")


def run_program(command: list[str], log: Path, timeout_s: float, *, title: str) -> str:
    """Runs a program to its end; what it prints goes to `log`.

    Returns:
        The last line that it printed.

    Raises:
        CompileError: it cannot be started, fails, dies of a signal or takes too long; its children end with it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=_environment_for(command[0]),
                start_new_session=True,
            )
        except OSError as error:
            raise CompileError(
                f"{title} cannot be started", received=f"{command[0]} ({error.strerror})", remedy="Correct its path."
            ) from None
        try:
            code = process.wait(timeout_s)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise CompileError(f"{title} took longer than {timeout_s:g} s", remedy=f"Read {log}.") from None
    last = _last_line(log)
    if code:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise CompileError(f"{title} failed", received="; ".join(filter(None, [how, last])), remedy=f"Read {log}.")
    return last


def _environment_for(program: str) -> dict[str, str]:
    """This environment; without what leads to our packages where the program is not our own interpreter."""
    if program == sys.executable:
        return dict(os.environ)
    return {name: value for name, value in os.environ.items() if name not in _SCRUBBED}


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
