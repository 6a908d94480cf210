"""Text files are UTF-8 wherever they are read or written: the locale, often ASCII in batch, has no say."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOUBLES = ROOT / "tests" / "doubles"  # stand-ins of the vendors' software, with tests of their own


def _calls_by_locale(folder: Path) -> list[str]:
    """Calls whose text depends on the locale: `read_text` and `write_text` without an encoding."""
    return [
        f"{path.relative_to(folder)}:{node.lineno}"
        for path in sorted(folder.rglob("*.py"))
        if DOUBLES not in path.parents
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and len(node.args) <= {"read_text": 0, "write_text": 1}.get(node.func.attr, -1)
        and "encoding" not in {keyword.arg for keyword in node.keywords}
    ]


@pytest.mark.parametrize("folder", ["helpers", "training", "benchmarks", "tests"])
def test_every_text_file_names_its_encoding(folder):
    assert _calls_by_locale(ROOT / folder) == []


def test_a_text_of_the_locale_is_found(tmp_path):
    lines = ["path.read_text()", 'path.write_text("a")', 'path.read_text(encoding="utf-8")']
    (tmp_path / "a.py").write_text("\n".join(lines), encoding="utf-8")
    assert _calls_by_locale(tmp_path) == ["a.py:1", "a.py:2"]
