"""`cookbook new-recipe`: a recipe in Python that runs at once on generated data, to be changed step by step."""

from __future__ import annotations

import argparse
import ast
import keyword
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from helpers.errors import ParameterError

_TEMPLATES = Path(__file__).parent / "recipe_template"
_FILES = {"recipe.py.txt": "{name}.py", "demo.yaml.txt": "params/{name}/demo.yaml", "test.py.txt": "test_{name}.py"}
# Parameters in the notebook of own_model that a recipe in Python does not have.
_OF_CARDS = ("card", "run_factory")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("name", metavar="NAME", help="of the recipe: lower-case letters, digits and _")
    parser.add_argument("--to", metavar="FOLDER", help="folder to create (default: NAME in the working folder)")


def run(options: argparse.Namespace) -> int:
    """Creates the folder, completely or not at all."""
    from helpers import recipes

    name = options.name
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise ParameterError(
            "a recipe cannot have this name",
            received=name,
            expected="lower-case letters, digits and _, and no name of a Python module",
        )
    if name in recipes.recipe_names():
        raise ParameterError(f"there is a recipe {name}", remedy="Choose another name.")
    folder = Path(options.to or name).expanduser().resolve()
    if folder.exists():
        raise ParameterError(f"{folder} exists", remedy="Name another folder with --to.")
    if not folder.parent.is_dir():
        raise ParameterError(f"there is no folder {folder.parent}", remedy="Create it, or name another one.")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-recipe-") as work:
        made = Path(work) / folder.name
        write_recipe(name, made)
        shutil.move(made, folder)
    shown = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    lines = [f"{folder}: {', '.join(shown)}", f"run it: cookbook run {folder}"]
    sys.stdout.write("\n".join([*lines, f"test it: python -m pytest {folder}"]) + "\n")
    return 0


def write_recipe(name: str, folder: Path) -> None:
    """Writes recipe, profile, test, notebook and demo weights of a new recipe."""
    from safetensors.numpy import save_file

    for template, target in _FILES.items():
        path = folder / target.format(name=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((_TEMPLATES / template).read_text(encoding="utf-8").replace("NAME", name), encoding="utf-8")
    _write_notebook(name, folder / "notebook.ipynb")
    save_file(dict(demo_state()), folder / "demo.safetensors")


def demo_state() -> Mapping[str, np.ndarray]:
    """Weights that were chosen, not trained: the mean of a neighbourhood, above one half."""
    first = np.zeros((2, 1, 3, 3, 3), np.float32)
    first[0] = 1 / 27
    last = np.array([[-10.0, 0.0], [10.0, 0.0]], np.float32).reshape(2, 2, 1, 1, 1)
    bias = np.array([5.0, -5.0], np.float32)
    return {"first.weight": first, "first.bias": np.zeros(2, np.float32), "last.weight": last, "last.bias": bias}


def _write_notebook(name: str, path: Path) -> None:
    """Writes the notebook of own_model for another recipe."""
    import nbformat

    from helpers.params.paths import NOTEBOOKS_FOLDER

    book = nbformat.read(NOTEBOOKS_FOLDER / "09_your_model.ipynb", as_version=4)
    book.cells[
        0
    ].source = f"# {name}\n\nFrom a checkpoint to masks computed by a device, with a check after every step."
    for cell in book.cells:
        if "parameters" in cell.metadata.get("tags", []):
            kept = [line for line in cell.source.splitlines() if _assigned(line) not in _OF_CARDS]
            cell.source = "\n".join(kept)
        cell.source = cell.source.replace('"own_model"', f'"{name}"').replace("params/own_model/", f"params/{name}/")
        if cell.source.startswith("from helpers import"):
            register = 'recipes.register_folder(".")  # the folder of this notebook'
            first, *rest = cell.source.splitlines()
            first = first.replace("import ", "import recipes, ")
            cell.source = "\n".join([first, "", register, *(line for line in rest if line)])
    nbformat.write(book, path)


def _assigned(line: str) -> str:
    """The name that a line of the parameters cell assigns; empty for a comment."""
    return "".join(ast.unparse(statement).partition(" = ")[0] for statement in ast.parse(line).body)
