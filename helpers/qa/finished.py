"""Finished runs, found in the outputs folder and read without being started again."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from pydantic import ValidationError

from helpers import recipes
from helpers.data.case import Case, CaseFiles
from helpers.errors import CookbookError, DataError, explain_damage
from helpers.params.model import RunParams
from helpers.recipes.base import LabelSet, Recipe
from helpers.run.record import read_record, read_run_status
from helpers.scoring.volume_metrics import METRICS, metric_name
from helpers.stages.data import selected_cases, write_demo_cases
from helpers.stages.infer import mask_name

_LOG = logging.getLogger("cookbook")


class HasId(Protocol):
    """Anything that is identified as a case."""

    @property
    def id(self) -> str: ...


C = TypeVar("C", bound=HasId)


@dataclass(frozen=True)
class FinishedRun:
    """A run that passed: its recipe, parameters and folder. It is read only; nothing in its folder changes."""

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
        """The hash over every parameter that affects the results, from the folder's name."""
        return self.name.rpartition("-")[2]

    @cached_property
    def scores(self) -> Mapping[str, Mapping[str, float | None]]:
        """Scores by case from `metrics.json`; empty if no case has a truth."""
        return self._measured()["cases"]

    @cached_property
    def metrics(self) -> Mapping[str, Mapping[str, float | None]]:
        """Surface, volume and lesion metrics by case from `metrics.json`; empty if the run measured none."""
        return self._measured()["volume_metrics"]

    def _measured(self) -> dict[str, dict[str, dict[str, float | None]]]:
        path = self.path("metrics.json")
        if not path.is_file():
            return {"cases": {}, "volume_metrics": {}}
        with explain_damage(path, "Delete it and run the notebook again."):
            content = json.loads(path.read_text(encoding="utf-8"))
            parts = {"cases": content["cases"], "volume_metrics": content.get("volume_metrics", {}).get("cases", {})}
            return {
                part: {str(case): {name: _number(value) for name, value in row.items()} for case, row in rows.items()}
                for part, rows in parts.items()
            }

    @cached_property
    def volume_metrics(self) -> Mapping[str, Any]:
        """`volume_metrics` of `metrics.json`; empty for pictures, without truths and for runs of earlier versions."""
        path = self.path("metrics.json")
        if not self.scores:
            return {}
        with explain_damage(path, "Delete it and run the notebook again."):
            found = json.loads(path.read_text(encoding="utf-8")).get("volume_metrics", {})
            for row in found.get("cases", {}).values():
                for value in row.values():
                    _number(value)
            return found

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The surface and lesion metrics in the order of tables, such as `HD95 liver`; none for pictures."""
        mean, rules = self.volume_metrics.get("mean", {}), self.volume_metrics.get("rules", {})
        names = (metric_name(metric, structure) for structure in rules for metric in METRICS)
        return tuple(name for name in names if name in mean)

    @cached_property
    def values(self) -> Mapping[str, Mapping[str, float | None]]:
        """Scores, and of volumes surface and lesion metrics, by case; by any of them cases can be ordered."""
        metrics = self.volume_metrics.get("cases", {})
        return {case: {**row, **metrics.get(case, {})} for case, row in self.scores.items()}

    @cached_property
    def cases(self) -> list[CaseFiles]:
        """The cases of the run that have a mask."""
        return [case for case in selected_cases(self.recipe, self) if self.has_mask(case.id)]

    def case_files(self, case_id: str) -> CaseFiles:
        """The files of a case.

        Raises:
            DataError: the run has no such case.
        """
        return find_case(self.cases, case_id)

    def path(self, name: str) -> Path:
        """A file of the run by its relative name."""
        return self.folder / name

    @property
    def mask_suffix(self) -> str:
        """The suffix of the mask files."""
        return self.recipe.cases.mask_suffix(self.params)

    def mask_path(self, case_id: str) -> Path:
        """The mask of a case."""
        return self.path(mask_name(self.recipe, self, case_id))

    def has_mask(self, case_id: str) -> bool:
        """Whether the run made a mask of a case."""
        return self.mask_path(case_id).is_file()

    def read_case(self, case_id: str) -> Case:
        """Reads a case as the run did.

        Raises:
            DataError: the run has no such case, or a file of it is missing or damaged.
        """
        return self.recipe.cases.read_case(self.case_files(case_id), self.params)

    def read_mask(self, case: Case) -> np.ndarray:
        """The class indices of a case's mask, uint8 of the case's spatial shape.

        Raises:
            DataError: the mask is not on the case's grid.
        """
        return self.recipe.cases.read_mask(self.mask_path(case.id), case)

    def restore_demo_cases(self) -> None:
        """Writes the demo cases that the run was made from, if they were deleted since."""
        if self.params.data_root == "demo":
            write_demo_cases(self.recipe, self)


def list_runs(outputs: Path, recipe_name: str | None = None) -> list[FinishedRun]:
    """Lists the passed runs in an outputs folder, the newest first; those of one recipe, or of all."""
    found = []
    for record in outputs.glob(f"{recipe_name or '*'}/*/run.json"):
        if record.parent.parent.name not in recipes.recipe_names() or read_run_status(record)[0] != "passed":
            continue
        try:
            found.append(_read_run(record, outputs))
        except (ValidationError, CookbookError, OSError) as error:
            _LOG.warning("skipping %s: its record cannot be read (%s)", record.parent, error)
    return sorted(found, key=lambda run: run.started, reverse=True)


def find_run(outputs: Path, recipe_name: str | None, name: str | None) -> FinishedRun:
    """Finds a run by the name of its folder, or the newest one if `name` is None.

    Raises:
        DataError: there is no such run.
    """
    runs = list_runs(outputs, recipe_name)
    chosen = [run for run in runs if name in (None, run.name)]
    if not chosen:
        raise DataError(
            f"no passed run {f'{name} ' if name else ''}of {recipe_name or 'any recipe'} in {outputs}",
            received=", ".join(run.name for run in runs) or "none",
            remedy=f"Run `cookbook run {recipe_name or 'unet3d_brats'}` first.",
        )
    return chosen[0]


def find_case(cases: Sequence[C], case_id: str) -> C:
    """The case of a run with this id.

    Raises:
        DataError: the run has no such case.
    """
    for case in cases:
        if case.id == case_id:
            return case
    raise DataError(f"the run has no case {case_id!r}", expected=", ".join(case.id for case in cases))


def drop_none(value: object) -> object:
    """Removes entries that are None from nested parameters: a record lists them all, a validator may refuse None."""
    if isinstance(value, dict):
        return {name: drop_none(item) for name, item in value.items() if item is not None}
    return value


def _number(value: object) -> float | None:
    if value is None or type(value) in (int, float):
        return value  # type: ignore[return-value]
    raise TypeError(f"a score is {value!r}")


def _read_run(record: Path, outputs: Path) -> FinishedRun:
    with explain_damage(record):
        return _finished_run(record, outputs)


def _finished_run(record: Path, outputs: Path) -> FinishedRun:
    content = read_record(record.parent)
    recipe = recipes.load(record.parent.parent.name)
    # JSON has no tuples; the strict model accepts lists for them only when it parses JSON itself.
    params = recipe.params_model.model_validate_json(json.dumps(drop_none(content["params"])))
    moved = params.model_copy(update={"outputs": str(outputs)})
    # Runs of earlier versions did not record their labels.
    labels = LabelSet.from_json(content["labels"]) if "labels" in content else recipe.labels(moved)
    names = tuple(content.get("score_names") or recipe.score_names(moved))
    return FinishedRun(recipe, moved, record.parent, float(content["started"]), labels, names)
