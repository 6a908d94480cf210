"""What a precision does to masks and scores, case by case, against the base of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from helpers.recipes.base import Recipe
from helpers.run import Run
from helpers.scoring.bootstrap import paired_interval
from helpers.scoring.dice import mean_of_known
from helpers.scoring.metrics13 import mean_metrics, metrics_of_case
from helpers.stages.data import selected_cases
from helpers.stages.infer import mask_name


@dataclass
class CellMasks:
    """Scores, tallies and label changes of one cell over the cases that have a truth.

    `degenerate` names the cases whose mask holds one label only while the truth holds more.
    """

    scores: list[Mapping[str, float | None]] = field(default_factory=list)
    tallies: list[np.ndarray | None] = field(default_factory=list)
    metrics: list[Mapping[str, Mapping[str, float]]] = field(default_factory=list)
    changed_labels: int = 0
    labels: int = 0
    degenerate: list[str] = field(default_factory=list)


def compare_masks(recipe: Recipe, run: Run, cells: Mapping[str, Run], base: str) -> dict[str, CellMasks]:
    """Reads every case once and compares each cell's mask with the truth and with the base's mask."""
    found = {name: CellMasks() for name in cells}
    for files in selected_cases(recipe, run):
        if files.truth is None:
            continue
        case = recipe.read_case(files, run.params)
        first = recipe.read_mask(cells[base].path(mask_name(recipe, files.id)), case)
        for name, cell_run in cells.items():
            mask = recipe.read_mask(cell_run.path(mask_name(recipe, files.id)), case)
            row = found[name]
            row.scores.append(recipe.score(mask, case.truth))
            row.tallies.append(recipe.tally(mask, case.truth))
            row.changed_labels += int(np.count_nonzero(mask != first))
            row.labels += mask.size
            if np.ptp(mask) == 0 and np.ptp(case.truth) > 0:
                row.degenerate.append(files.id)
            if recipe.has_nnunet_metrics:
                labels = {label: index for index, label in enumerate(recipe.class_names) if index}
                row.metrics.append(metrics_of_case(mask, case.truth, labels))
    return found


def headline(recipe: Recipe, masks: CellMasks, indices: Sequence[int] | None = None) -> float | None:
    """The mean of the recipe's headline scores over the cases, or over some of them."""
    chosen = range(len(masks.scores)) if indices is None else indices
    total = recipe.aggregate([masks.scores[i] for i in chosen], [masks.tallies[i] for i in chosen])
    return mean_of_known([total[name] for name in recipe.headline_scores or recipe.score_names])


def score_change(
    recipe: Recipe, masks: CellMasks, base: CellMasks
) -> tuple[float | None, tuple[float, float] | None]:
    """The change of the headline score against the base, and its paired bootstrap interval over cases."""

    def change(indices: Sequence[int] | None) -> float | None:
        ours, theirs = headline(recipe, masks, indices), headline(recipe, base, indices)
        return None if ours is None or theirs is None else ours - theirs

    if not masks.scores:
        return None, None
    return change(None), paired_interval(len(masks.scores), change)


def thirteen(masks: CellMasks) -> dict[str, dict[str, float]]:
    """nnU-Net's thirteen metrics of each label, the mean over cases; empty for recipes without them."""
    return mean_metrics(masks.metrics) if masks.metrics else {}
