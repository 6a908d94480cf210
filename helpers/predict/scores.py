"""The scores of masks that were just written, for cases with a truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from helpers.data.case import CaseFiles
from helpers.errors import DataError
from helpers.params.model import RunParams
from helpers.recipes.base import Recipe, Scores
from helpers.run.atomic import write_json


def score_masks(recipe: Recipe, params: RunParams, cases: Sequence[CaseFiles], folder: Path) -> Scores:
    """Writes `metrics.json` with the scores of each case that has a truth, and returns the means.

    Args:
        recipe, params: of the masks.
        cases: those whose masks are in the folder.
        folder: the output folder.

    Raises:
        DataError: no case has a truth.
    """
    labelled = [files for files in cases if files.truth is not None]
    if not labelled:
        raise DataError("no case has a truth to score with", remedy="Leave --scores out, or add the labels.")
    scores, tallies = {}, []
    for files in labelled:
        case = recipe.cases.read_case(files, params)
        mask = recipe.cases.read_mask(folder / f"{files.id}{recipe.cases.mask_suffix(params)}", case)
        scores[files.id] = _rounded(recipe.scoring.score(mask, case.require_truth(), params))
        tallies.append(recipe.scoring.tally(mask, case.require_truth(), params))
    means = _rounded(recipe.scoring.aggregate(list(scores.values()), tallies, params))
    write_json(folder / "metrics.json", {"recipe": recipe.name, "cases": scores, "mean": means})
    return means


def _rounded(scores: Scores) -> Scores:
    return {name: None if value is None else round(value, 6) for name, value in scores.items()}
