"""`cookbook new-recipe` writes a recipe that passes its own test and runs as a notebook."""

from __future__ import annotations

import subprocess
import sys

import nbformat
import pytest

from helpers import recipes
from helpers.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A new recipe; the recipes that this process knows stay as they were."""
    monkeypatch.setattr(recipes, "_RECIPES", dict(recipes._RECIPES))
    monkeypatch.setattr(recipes, "_FOLDERS", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["new-recipe", "my_balls", "--to", str(tmp_path / "mine")]) == 0
    yield tmp_path / "mine"
    sys.modules.pop("my_balls", None)


def test_its_own_test_passes(folder):
    command = [sys.executable, "-m", "pytest", "-q", str(folder), "-p", "no:cacheprovider"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_notebook_names_it_and_has_no_entry_of_a_card(folder):
    book = nbformat.read(folder / "notebook.ipynb", as_version=4)
    nbformat.validate(book)
    source = "\n".join(cell.source for cell in book.cells)
    assert 'start_run("my_balls"' in source and 'register_folder(".")' in source
    assert "own_model" not in source and "run_factory" not in source


def test_a_folder_is_loaded_by_its_path(folder):
    assert recipes.load(str(folder)).name == "my_balls"
    assert recipes.recipe_folder("my_balls") == folder


@pytest.mark.slow
def test_run_takes_its_folder(folder, tmp_path, capsys):
    assert main(["run", str(folder), "-p", "outputs", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("passed: ")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("My-Recipe", "lower-case"),
        ("json", "lower-case"),
        ("unet_carvana", "there is a recipe"),
        ("class", "lower-case"),
    ],
)
def test_a_name_that_cannot_be_used_writes_nothing(tmp_path, capsys, name, said):
    assert main(["new-recipe", name, "--to", str(tmp_path / "mine")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "mine").exists()


def test_an_existing_folder_is_left_alone(tmp_path, capsys):
    assert main(["new-recipe", "mine", "--to", str(tmp_path)]) == 2
    assert "exists" in capsys.readouterr().err


def test_a_folder_without_a_recipe_is_refused(tmp_path, capsys):
    assert main(["run", str(tmp_path)]) == 2
    assert "has no recipe" in capsys.readouterr().err
