"""Programs that this process starts end with it, even if it is killed and cannot end them itself."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

# Reads until this process closes its end of the pipe, which the system does if it is killed.
_WATCHER = """
import os, signal, sys
group = sys.stdin.read()
if group:
    try:
        os.killpg(int(group), signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


@contextlib.contextmanager
def ends_with_this_process() -> Iterator[Callable[[subprocess.Popen], None]]:
    """Yields a function that names a program to kill, with its children, if this process ends within the block.

    The program must lead a session of its own (`start_new_session`). The death signal of Linux would reach it alone,
    and not its children.
    """
    reads, writes = os.pipe()
    try:
        watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCHER],
            stdin=reads,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    finally:
        os.close(reads)
    try:
        yield lambda process: _write(writes, process.pid)
    finally:
        watcher.kill()
        watcher.wait()
        os.close(writes)


def _write(pipe: int, pid: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(pipe, str(pid).encode())
