"""A signal that ends a run is answered by the run's own process, and by none that it forks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import contextlib, multiprocessing, sys, time
from helpers.run.termination import call_before_termination, termination_raises

def end(error):
    print("the run's record is closed", flush=True)

with termination_raises() if sys.argv[1] == "command" else contextlib.nullcontext():
    if sys.argv[1] == "kernel":
        call_before_termination(end)
    for _ in range(20):  # a pool is often closed before its workers wait
        with multiprocessing.get_context("fork").Pool(4) as pool:
            pool.map(abs, [1])
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join(20)
    print(child.exitcode, flush=True)
"""


@pytest.mark.parametrize("kind", ["command", "kernel"])
def test_a_forked_child_ends_by_the_signal_and_closes_no_record(kind):
    command = [sys.executable, "-c", PROGRAM, kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120, check=True)
    assert done.stdout == "-15\n" and done.stderr == ""
