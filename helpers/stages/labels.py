"""The class and score names of a run, which are recorded when it starts and read from the record afterwards."""

from __future__ import annotations

from helpers.params.model import RunParams
from helpers.recipes.base import LabelSet, Recipe
from helpers.run import Run


def open_run(recipe: Recipe, params: RunParams) -> Run:
    """Opens a run of a recipe and records its title, labels and score names."""
    run = Run(params)
    run.record.update(
        title=recipe.title,
        labels=recipe.labels(params).to_json(),
        score_names=list(recipe.score_names(params)),
    )
    return run


def run_labels(recipe: Recipe, run: Run) -> LabelSet:
    """The classes of a run's masks; the recipe's for a run that recorded none."""
    recorded = run.record.field("labels")
    return LabelSet.from_json(recorded) if recorded else recipe.labels(run.params)


def run_score_names(recipe: Recipe, run: Run) -> tuple[str, ...]:
    """The scores of a run in the order of tables; the recipe's for a run that recorded none."""
    return tuple(run.record.field("score_names") or recipe.score_names(run.params))
