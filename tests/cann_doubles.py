"""The doubles of ATC, pyACL and the vendor's command-line tools, run as programs."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "doubles"


@dataclass
class CannDoubles:
    """Runs the command lines that the project shows, with doubles as programs; those that use pyACL leave reports."""

    reports: Path

    def environment(self, **settings: str) -> dict[str, str]:
        """The environment that CANN's set_env.sh and an installation of the tools would leave."""
        path = f"{FOLDER / 'cann' / 'bin'}:{FOLDER / 'bin'}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(FOLDER / "cann" / "python")}
        return environment | {"CANN_DOUBLE_PYTHON": sys.executable} | self._settings(settings)

    def run(self, line: str, folder: Path, **settings: str) -> str:
        """Runs one line, including its `| tee FILE`, and returns the output."""
        command, _, log = line.partition(" | tee ")
        words = shlex.split(command)
        words = ["ais_bench", *words[3:]] if words[:3] == ["python3", "-m", "ais_bench"] else words
        done = self.start(words, folder, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        if log:
            (folder / log).write_text(done.stdout, encoding="utf-8")
        return done.stdout

    def start(self, words: list[str], folder: Path, **settings: str) -> subprocess.CompletedProcess:
        """Runs one of the doubles and accepts any exit code."""
        (program,) = [
            place / words[0] for place in (FOLDER / "bin", FOLDER / "cann" / "bin") if (place / words[0]).exists()
        ]
        environment = self.environment(**settings)
        return subprocess.run([str(program), *words[1:]], cwd=folder, env=environment, capture_output=True, text=True)

    def read_reports(self) -> list[dict]:
        """One report per process that used pyACL."""
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.reports.glob("*.json"))]

    def assert_clean(self, at_least: int = 1) -> None:
        """Fails unless at least so many processes used pyACL, all of them correctly."""
        reports = self.read_reports()
        assert len(reports) >= at_least
        assert all(report["ok"] for report in reports), reports

    def _settings(self, settings: dict[str, str]) -> dict[str, str]:
        return {"CANN_DOUBLE_DEVICES": "4", "CANN_DOUBLE_REPORT": str(self.reports / "%p.json"), **settings}
