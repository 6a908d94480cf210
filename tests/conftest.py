"""Fixtures shared by several folders: the strict doubles of MagicMind, and of CANN with its tools."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.run.said import forget_said
from tests.cann_doubles import CannDoubles

MAGICMIND = Path(__file__).parent / "doubles" / "magicmind"


@pytest.fixture(autouse=True)
def say_everything_again() -> None:
    """Each test hears every remark on a file, as each run does."""
    forget_said()


@dataclass
class MagicMindDouble:
    """An interpreter like a vendor's: it has MagicMind, and none of our import paths."""

    python: str
    bin: Path
    reports: Path

    def read_reports(self) -> list[dict]:
        """One report per process that used the double."""
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.reports.glob("*.json"))]

    def assert_clean(self) -> None:
        """Fails unless the double was used, and used correctly."""
        reports = self.read_reports()
        assert reports
        assert all(report["ok"] for report in reports), reports


@pytest.fixture
def magicmind_double(tmp_path) -> MagicMindDouble:
    """An interpreter with two simulated MLUs; its processes leave reports."""
    folder = tmp_path / "magicmind"
    (folder / "reports").mkdir(parents=True)
    python = folder / "python-with-magicmind"
    python.write_text(
        "#!/bin/sh\n"
        f'export PYTHONPATH="{MAGICMIND / "python"}" MM_DOUBLE_REPORT="{folder}/reports/%p.json"\n'
        f'export MM_DOUBLE_DEVICES=2\nexec "{sys.executable}" "$@"\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    return MagicMindDouble(str(python), MAGICMIND / "bin", folder / "reports")


@pytest.fixture
def cann_doubles(tmp_path) -> CannDoubles:
    """The doubles of ATC, pyACL and the vendor's tools as programs, with four simulated devices."""
    reports = tmp_path / "acl-reports"
    reports.mkdir()
    return CannDoubles(reports)
