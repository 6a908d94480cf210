"""The children of a vendor's program are killed with it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from helpers.compile.process import run_program
from helpers.errors import CompileError

ROOT = Path(__file__).resolve().parents[2]


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


PROGRAM = """
import sys
from pathlib import Path
from helpers.compile.process import run_program
place = sys.argv[1]
line = f"sleep 60 & echo $! > {place}/pid; echo $$ > {place}/own; sleep 60"
run_program(["/bin/sh", "-c", line], Path(place) / "log", 60, title="ATC")
"""


def _has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _wait(condition) -> bool:
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.1)
    return condition()


def test_a_program_and_its_children_end_with_a_process_that_is_killed(tmp_path):
    kernel = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT)
    own = tmp_path / "own"
    assert _wait(lambda: own.is_file() and own.read_text(encoding="utf-8").endswith("\n"))
    pids = [int((tmp_path / name).read_text(encoding="utf-8")) for name in ("pid", "own")]
    watchers = [each.pid for each in psutil.Process(kernel.pid).children() if each.pid not in pids]
    assert len(watchers) == 1
    time.sleep(0.5)  # the watcher is given the program right after its start
    kernel.kill()
    kernel.wait()
    assert _wait(lambda: all(map(_has_ended, [*pids, *watchers])))


def test_a_program_that_ends_by_itself_leaves_no_watcher(tmp_path):
    before = {each.pid for each in psutil.Process().children(recursive=True)}
    assert run_program(["/bin/echo", "done"], tmp_path / "log", 30, title="ATC") == "done"
    assert {each.pid for each in psutil.Process().children(recursive=True)} <= before
