"""The children of a vendor's program are killed with it."""

from __future__ import annotations

import sys
import time

import psutil
import pytest

from helpers.compile.process import run_program
from helpers.errors import CompileError


@pytest.mark.parametrize("end", ["exit 3", "kill -SEGV $$"])
def test_children_are_killed_when_their_program_ends(tmp_path, end):
    with pytest.raises(CompileError):
        line = f"{sys.executable} -c 'import time; time.sleep(60)' & echo $! > {tmp_path / 'pid'}; {end}"
        run_program(["/bin/sh", "-c", line], tmp_path / "log", 30, title="ATC")
    child = int((tmp_path / "pid").read_text(encoding="utf-8"))
    for _ in range(50):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    raise AssertionError("the child is still running")
