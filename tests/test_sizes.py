"""No module is longer than a reader keeps in mind, tests like the code that they test."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOUBLES = ROOT / "tests" / "doubles"  # stand-ins of the vendors' software, with tests of their own
LINES = 250


def _longer_than(lines: int, folder: Path) -> dict[str, int]:
    """Path from the folder -> its lines, of each module that has more."""
    counts = {
        str(path.relative_to(folder)): len(path.read_text(encoding="utf-8").splitlines())
        for path in folder.rglob("*.py")
        if DOUBLES not in path.parents
    }
    return {name: count for name, count in counts.items() if count > lines}


@pytest.mark.parametrize("folder", ["helpers", "training", "benchmarks", "tests"])
def test_no_module_is_too_long(folder):
    assert (ROOT / folder).is_dir()
    assert _longer_than(LINES, ROOT / folder) == {}


def test_a_longer_module_is_found(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "long.py").write_text("pass\n" * 251)
    (tmp_path / "short.py").write_text("pass\n" * 250)
    assert _longer_than(LINES, tmp_path) == {"below/long.py": 251}
