"""The parameters that a run really uses: each value, where it comes from, what else it could be."""

from __future__ import annotations

import html
import shlex
from collections.abc import Mapping
from pathlib import Path

from helpers.params.listing import list_parameters
from helpers.params.origins import name_origins
from helpers.params.resolve import load_profile
from helpers.params.targets import load_target, target_names
from helpers.recipes.base import Recipe
from helpers.run import Run
from helpers.view.tables import RichText, html_table, text_table

_HEADER = ("parameter", "value", "from", "choices or meaning")
_FIRST = ("profile", "target", "precision", "checkpoint", "data_root", "cases")


def show_parameters(recipe: Recipe, run: Run) -> RichText:
    """Shows the values that a run uses, with where each comes from, and the command that repeats the run.

    The table begins with the parameters that a newcomer changes and those that something sets; in a notebook the
    others are behind a line to click on. Any name in it may be added to the parameters cell.
    """
    rows = {row[0]: row for row in _rows(recipe, run)}
    shown = [name for name in rows if name in _FIRST or rows[name][2] != "default"]
    first = [rows[name] for name in sorted(shown, key=lambda name: (name not in _FIRST, rows[name][2] != "you"))]
    rest = [row for name, row in rows.items() if name not in shown]
    command = _command(recipe, run.given)
    head = f"{html_table(_HEADER, first)}<div>The same run: <code>{html.escape(command)}</code></div>"
    more = f"<details><summary>{len(rest)} further parameters, at their defaults</summary>"
    text = "\n".join([*text_table([_HEADER, *(tuple(map(_shorten, row)) for row in first)]), f"same run: {command}"])
    return RichText(f"{head}{more}{html_table(_HEADER, rest)}</details>", text)


def _rows(recipe: Recipe, run: Run) -> list[tuple[str, str, str, str]]:
    params = run.params
    profile = load_profile(recipe.name, params.profile, recipe.params_folder)
    defaults = {**recipe.defaults, **recipe.model.defaults({**profile, **run.given})}
    origins = name_origins(params, run.given, defaults, profile)
    choices: dict[str, list[str]] = {
        "profile": sorted(path.stem for path in (recipe.params_folder / recipe.name).glob("*.yaml")),
        "target": target_names(),
        "precision": list(load_target(params.target).precisions),
    }
    return [
        (name, value, origins[name], ", ".join(choices[name]) if name in choices else meaning)
        for name, _, value, meaning in list_parameters(params, "value")[1:]
        if name != "recipe"
    ]


def _command(recipe: Recipe, given: Mapping[str, object]) -> str:
    """The command that starts the same run from a terminal."""
    from helpers.params.listing import write_value

    words = ["cookbook", "run", recipe.name]
    for name, value in given.items():
        if value is not None:
            words += ["-p", name, write_value(str(value) if isinstance(value, Path) else value)]
    return shlex.join(words)


def _shorten(text: str) -> str:
    return text if len(text) <= 70 else text[:69] + "…"
