"""Contestants in turn, round by round, each run in a process of its own, so that other load hits all alike."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_logger = logging.getLogger("benchmarks")


def run_rounds(script: Path, contestants: Sequence[str], rounds: int, *options: str) -> dict[str, list[dict]]:
    """Figures of every run by contestant, those that `script --once CONTESTANT` prints as its last line."""
    runs: dict[str, list[dict]] = {contestant: [] for contestant in contestants}
    for _ in range(rounds):
        for contestant, found in runs.items():
            command = [sys.executable, str(script), "--once", contestant, *options]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{contestant} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
            found.append(json.loads(done.stdout.strip().splitlines()[-1]))
            _logger.info("%s %s: %s", script.stem, contestant, found[-1])
    return runs
