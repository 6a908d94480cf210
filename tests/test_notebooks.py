"""The form of every notebook: stripped, short cells with prose before each, the same headings in every recipe."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import nbformat
import pytest

from helpers import recipes

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PACKAGES = {"stages", "study", "view", "qa", "explore"}
RECIPES = [path for path in NOTEBOOKS if "01" <= path.name[:2] <= "05"]


def _read(path: Path):
    return nbformat.read(path, as_version=4)


def _code(path: Path) -> list:
    return [cell for cell in _read(path).cells if cell.cell_type == "code"]


def _is_parameters(cell) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def test_notebooks_01_to_05_are_named_after_their_recipes():
    assert [path.name[:2] for path in RECIPES] == ["01", "02", "03", "04", "05"]
    assert {path.stem.partition("_")[2] for path in RECIPES} <= set(recipes.recipe_names())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestForm:
    def test_it_is_a_valid_notebook(self, path: Path):
        nbformat.validate(_read(path))

    def test_outputs_and_counts_are_stripped(self, path: Path):
        assert not [cell for cell in _code(path) if cell.outputs or cell.execution_count is not None]

    def test_no_widget_state_is_stored(self, path: Path):
        assert "widgets" not in _read(path).metadata
        assert not [cell for cell in _read(path).cells if "widget" in str(cell.metadata).lower()]

    def test_exactly_one_cell_holds_the_parameters(self, path: Path):
        assert sum(_is_parameters(cell) for cell in _read(path).cells) == 1

    def test_parameters_are_plain_literals_with_comments(self, path: Path):
        (cell,) = [cell for cell in _code(path) if _is_parameters(cell)]
        for node in ast.parse(cell.source).body:
            assert isinstance(node, ast.Assign)
            ast.literal_eval(node.value)
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert all("#" in line for line in lines)

    def test_code_cells_are_short(self, path: Path):
        for cell in _code(path):
            if not _is_parameters(cell):
                assert len(cell.source.splitlines()) <= 10, cell.source

    def test_no_function_or_class_is_defined(self, path: Path):
        for cell in _code(path):
            nodes = list(ast.walk(ast.parse(cell.source)))
            assert not [n for n in nodes if isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.Lambda))], cell.source

    def test_prose_precedes_every_code_cell(self, path: Path):
        cells = _read(path).cells
        for before, cell in zip([None, *cells], cells, strict=False):
            if cell.cell_type == "code":
                assert before is not None and before.cell_type == "markdown", cell.source
                prose = [line for line in before.source.splitlines() if line.strip() and not line.startswith("#")]
                assert prose, cell.source

    def test_every_cell_shows_its_result(self, path: Path):
        for cell in _code(path):
            if not _is_parameters(cell):
                # Pictures are drawn for what is displayed: a stage that is only assigned would have none.
                assert isinstance(ast.parse(cell.source).body[-1], ast.Expr), cell.source

    def test_every_helper_exists(self, path: Path):
        nodes = [node for cell in _code(path) for node in ast.walk(ast.parse(cell.source))]
        for node in nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in PACKAGES:
                assert hasattr(importlib.import_module(f"helpers.{node.value.id}"), node.attr), node.attr
            elif isinstance(node, ast.ImportFrom) and node.module != "helpers":
                assert hasattr(importlib.import_module(node.module), node.names[0].name), ast.unparse(node)

    def test_no_path_of_a_machine_is_named(self, path: Path):
        assert not re.search(r"/(home|root|Users|work)/", path.read_text(encoding="utf-8"))


def _headings(path: Path) -> list[str]:
    lines = [line for cell in _read(path).cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    return [line for line in lines if line.startswith("## ")]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes_share_their_numbered_headings(path: Path):
    headings = _headings(path)
    assert headings == _headings(RECIPES[0])
    assert [int(heading.split()[1]) for heading in headings] == list(range(1, len(headings) + 1))


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path not in RECIPES], ids=lambda path: path.stem)
def test_other_notebooks_have_numbered_headings_and_begin_with_the_parameters(path: Path):
    headings = _headings(path)
    assert [int(heading.split()[1]) for heading in headings] == list(range(1, len(headings) + 1))
    assert headings[0] == "## 1 Parameters"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_parameter_of_the_cell_is_known(path: Path):
    (cell,) = [cell for cell in _code(path) if _is_parameters(cell)]
    names = {node.targets[0].id for node in ast.parse(cell.source).body}
    known = recipes.load(path.stem.partition("_")[2]).params_model.model_fields
    assert names <= set(known)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_first_cell_has_a_summary_in_chinese(path: Path):
    (line,) = [line for line in _read(path).cells[0].source.splitlines() if line.startswith("**中文摘要** ")]
    assert len(re.findall(r"[\u4e00-\u9fff]", line)) >= 15


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_section_that_does_something_has_a_cell_to_play_with(path: Path):
    explored = [cell for cell in _read(path).cells if cell.id.startswith("explore-") and cell.cell_type == "code"]
    assert {cell.id.removeprefix("explore-") for cell in explored} == {"3", "4", "6", "8", "9", "10", "11", "12"}
    others = [_read(other) for other in RECIPES if other != path]
    for cell in explored:
        prose = next(each.source for each in _read(path).cells if each.id == f"{cell.id}-text")
        # The text of a section may not be copied from model to model: it says what to look at in this one.
        assert prose.startswith("**Try it.**") and not any(
            prose == each.source for book in others for each in book.cells
        )
