"""What tests of several folders share: the strict doubles of MagicMind, and of CANN with its tools."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

MAGICMIND = Path(__file__).parent / "doubles" / "magicmind"


@dataclass
class MagicMindDouble:
    """An interpreter as a vendor's would be: MagicMind is in it, our packages' path is not."""

    python: str
    bin: Path
    reports: Path

    def read_reports(self) -> list[dict]:
        """What each process that used the double did."""
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.reports.glob("*.json"))]

    def assert_clean(self) -> None:
        """Fails unless the double was used, and never wrongly."""
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
        f'export MM_DOUBLE_DEVICES=2\nexec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    return MagicMindDouble(str(python), MAGICMIND / "bin", folder / "reports")


@pytest.fixture
def cann_doubles(tmp_path):
    """The doubles of ATC, pyACL and the vendor's tools as programs, on a machine with four simulated chips."""
    spec = importlib.util.spec_from_file_location("cann_doubles", Path(__file__).with_name("cann_doubles.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["cann_doubles"] = module
    spec.loader.exec_module(module)
    reports = tmp_path / "acl-reports"
    reports.mkdir()
    return module.CannDoubles(reports)
