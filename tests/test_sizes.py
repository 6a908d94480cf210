"""Functions stay short, in the tests as in the code that they test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOUBLES = ROOT / "tests" / "doubles"  # stand-ins of the vendors' software, with tests of their own
FUNCTION_LINES = 40


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
def test_no_function_is_too_long(folder):
    assert _long_functions(FUNCTION_LINES, ROOT / folder) == {}


def test_a_longer_function_is_found(tmp_path):
    (tmp_path / "long.py").write_text(
        "def whole():\n" + "    pass\n" * 39 + "def long():\n" + "    pass\n" * 40, encoding="utf-8"
    )
    assert _long_functions(FUNCTION_LINES, tmp_path) == {"long.py: long": 41}
