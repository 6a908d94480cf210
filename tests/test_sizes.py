"""No module or function is longer than a reader keeps in mind, tests like the code that they test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOUBLES = ROOT / "tests" / "doubles"  # stand-ins of the vendors' software, with tests of their own
LINES, FUNCTION_LINES = 250, 40


def _longer_than(lines: int, folder: Path) -> dict[str, int]:
    """Path from the folder -> its lines, of each module that has more."""
    counts = {
        str(path.relative_to(folder)): len(path.read_text(encoding="utf-8").splitlines())
        for path in folder.rglob("*.py")
        if DOUBLES not in path.parents
    }
    return {name: count for name, count in counts.items() if count > lines}


def _long_functions(lines: int, folder: Path) -> dict[str, int]:
    """Path and name -> its lines from `def` to the end, of each function that has more."""
    counts = {
        f"{path.relative_to(folder)}: {node.name}": node.end_lineno - node.lineno + 1
        for path in folder.rglob("*.py")
        if DOUBLES not in path.parents
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return {name: count for name, count in counts.items() if count > lines}


@pytest.mark.parametrize("folder", ["helpers", "training", "benchmarks", "tests"])
def test_no_module_is_too_long(folder):
    assert (ROOT / folder).is_dir()
    assert _longer_than(LINES, ROOT / folder) == {}


@pytest.mark.parametrize("folder", ["helpers", "training", "benchmarks", "tests"])
def test_no_function_is_too_long(folder):
    assert _long_functions(FUNCTION_LINES, ROOT / folder) == {}


def test_a_longer_function_is_found(tmp_path):
    (tmp_path / "long.py").write_text("def whole():\n" + "    pass\n" * 39 + "def long():\n" + "    pass\n" * 40)
    assert _long_functions(FUNCTION_LINES, tmp_path) == {"long.py: long": 41}


def test_a_longer_module_is_found(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "long.py").write_text("pass\n" * 251)
    (tmp_path / "short.py").write_text("pass\n" * 250)
    assert _longer_than(LINES, tmp_path) == {"below/long.py": 251}
