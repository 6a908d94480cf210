"""The strict double of ATC, run as a program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DOUBLE = Path(__file__).parents[1] / "doubles" / "cann"


@pytest.fixture
def run_atc():
    """Runs an ATC command line with the double in a folder and returns the finished process."""

    def run(command: list[str], folder: Path) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PATH": f"{DOUBLE / 'bin'}:{os.environ['PATH']}"}
        environment |= {"PYTHONPATH": str(DOUBLE / "python"), "CANN_DOUBLE_PYTHON": sys.executable}
        command = [str(DOUBLE / "bin" / "atc"), *command[1:]]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    return run
