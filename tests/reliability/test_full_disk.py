"""A disk that is full at any point leaves nothing half-written, and the next run, with room, makes the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.run.record import read_run_status
from tests.reliability.conftest import HERE, ROOT, leftovers, torn_entries, torn_records
from tests.reliability.test_kills import results_of

PROGRAM = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
from small_stages_server import perform_stages
perform_stages(sys.argv[1])
"""
LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"


def _perform(outputs: Path, program: str = PROGRAM) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, str(outputs)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture
def disk(tmp_path):
    """A function that mounts a small disk, or makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def resize(size: str, options: str = "") -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"{options}size={size}", "tmpfs", str(folder)]
        try:
            subprocess.run(command, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("a small disk can only be mounted by root")
        return folder

    yield resize
    subprocess.run(["umount", str(folder)], capture_output=True)


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, bytes]:
    """The results of a run with room."""
    outputs = tmp_path_factory.mktemp("room")
    assert _perform(outputs).returncode == 0
    return results_of(outputs)


@pytest.mark.parametrize("size", ["100k", pytest.param("500k", marks=pytest.mark.slow), "1200k"])
def test_of_a_disk_that_is_full(disk, expected, size):
    outputs = disk(size)
    done = _perform(outputs)
    assert done.returncode == 1 and "no disk space left while writing" in done.stderr.splitlines()[-1]
    assert torn_entries(outputs) == [] and torn_records(outputs) == [] and leftovers(outputs) == []
    for record in outputs.glob("*/*/run.json"):
        assert read_run_status(record)[0] == "failed"
    disk("20m", "remount,")
    assert _perform(outputs).returncode == 0
    assert results_of(outputs) == expected
    assert leftovers(outputs) == [] and torn_entries(outputs) == []


def test_of_a_limit_for_the_size_of_a_file(tmp_path, expected):
    done = _perform(tmp_path, LIMIT + PROGRAM)
    assert done.returncode == 1 and "the limit for the size of a file was reached" in done.stderr.splitlines()[-1]
    (record,) = tmp_path.glob("*/*/run.json")
    assert json.loads(record.read_text(encoding="utf-8"))["status"] == "failed"
    assert leftovers(tmp_path) == [] and torn_entries(tmp_path) == []
    assert _perform(tmp_path).returncode == 0
    assert results_of(tmp_path) == expected
