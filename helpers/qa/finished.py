"""Runs that ended well, found in the outputs folder and read without being started again."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from helpers import recipes
from helpers.data.case import CaseFiles
from helpers.errors import CookbookError, DataError
from helpers.params.model import RunParams
from helpers.recipes.base import LabelSet, Recipe
from helpers.run.record import read_run_status
from helpers.stages.data import selected_cases, write_demo_cases
from helpers.stages.infer import mask_name

_LOG = logging.getLogger("cookbook")


@dataclass(frozen=True)
class FinishedRun:
    """A passed run: its recipe, parameters and folder. Nothing in the folder is changed through it."""

    recipe: Recipe
    params: RunParams
    folder: Path
    started: float
    labels: LabelSet
    score_names: tuple[str, ...]

    @property
    def name(self) -> str:
        """`<profile>-<hash>`."""
        return self.folder.name

    @property
    def hash(self) -> str:
        """The hash over every parameter that decides the results, as the folder's name keeps it."""
        return self.name.rpartition("-")[2]

    def path(self, name: str) -> Path:
        """A file of the run by its relative name."""
        return self.folder / name

    @property
    def mask_suffix(self) -> str:
        """Of the mask files."""
        return self.recipe.cases.mask_suffix(self.params)

    def mask_path(self, case_id: str) -> Path:
        """The mask of a case."""
        return self.path(mask_name(self.recipe, self, case_id))

    def restore_demo_cases(self) -> None:
        """Writes the demo cases that the run was made of, if they were deleted since."""
        if self.params.data_root == "demo":
            write_demo_cases(self.recipe, self)

    @cached_property
    def cases(self) -> list[CaseFiles]:
        """The cases of the run that have a mask."""
        return [case for case in selected_cases(self.recipe, self) if self.mask_path(case.id).is_file()]

    @cached_property
    def scores(self) -> Mapping[str, Mapping[str, float | None]]:
        """Scores by case from `metrics.json`; empty where there is no truth."""
        path = self.path("metrics.json")
        return json.loads(path.read_text(encoding="utf-8"))["cases"] if path.is_file() else {}


def list_runs(outputs: Path, recipe_name: str | None = None) -> list[FinishedRun]:
    """The passed runs below an outputs folder, the newest first; of one recipe or of all."""
    found = []
    for record in outputs.glob(f"{recipe_name or '*'}/*/run.json"):
        if record.parent.parent.name not in recipes.recipe_names() or read_run_status(record)[0] != "passed":
            continue
        try:
            found.append(_read_run(record, outputs))
        except (ValidationError, CookbookError, OSError, ValueError, KeyError) as error:
            _LOG.warning("%s is left out: its record cannot be read (%s)", record.parent, error)
    return sorted(found, key=lambda run: run.started, reverse=True)


def find_run(outputs: Path, recipe_name: str | None, name: str | None) -> FinishedRun:
    """A run by its folder's name, or the newest one.

    Raises:
        DataError: there is none.
    """
    runs = list_runs(outputs, recipe_name)
    chosen = [run for run in runs if name in (None, run.name)]
    if not chosen:
        raise DataError(
            f"no passed run {name or ''} of {recipe_name or 'any recipe'} below {outputs}",
            received=", ".join(run.name for run in runs) or "none",
            remedy=f"Run `python -m helpers run {recipe_name or 'unet3d_brats'}` first.",
        )
    return chosen[0]


def _read_run(record: Path, outputs: Path) -> FinishedRun:
    content = json.loads(record.read_text(encoding="utf-8"))
    recipe = recipes.load(record.parent.parent.name)
    # JSON has no tuples; the strict model takes its lists for them only when it reads JSON itself.
    params = recipe.params_model.model_validate_json(json.dumps(drop_none(content["params"])))
    moved = params.model_copy(update={"outputs": str(outputs)})
    # Runs of earlier versions did not record their labels.
    labels = LabelSet.from_json(content["labels"]) if "labels" in content else recipe.labels(moved)
    names = tuple(content.get("score_names") or recipe.score_names(moved))
    return FinishedRun(recipe, moved, record.parent, float(content["started"]), labels, names)


def drop_none(value: object) -> object:
    """Parameters without those that are None: a record names them all, a validator may refuse to be given some."""
    if isinstance(value, dict):
        return {name: drop_none(item) for name, item in value.items() if item is not None}
    return value
