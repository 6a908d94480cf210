"""The lesions of a case's masks, matched as the run's lesion scores match them, and drawn into one volume."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from helpers.data.case import Case
from helpers.params.model import RunParams
from helpers.recipes.base import LabelSet, Recipe
from helpers.scoring.lesions import LesionMap, find_lesions
from helpers.view.comparison import EXTRA, MISSING, SAME

# Code of a lesion in a marked volume, and what it covers.
KIND_CODES = {"found": SAME, "false": EXTRA, "missed": MISSING}


def map_lesions(
    recipe: Recipe, params: RunParams, labels: LabelSet, case: Case, prediction: np.ndarray
) -> dict[str, LesionMap]:
    """The lesions of each structure that is scored lesion by lesion; empty without a truth, and for a picture."""
    rules = {name: rule.lesions for name, rule in recipe.metric_rules(params).items() if rule.lesions is not None}
    if case.geometry is None or case.truth is None or not rules:
        return {}
    truth = case.truth
    if labels.ignore is not None:
        prediction, truth = (np.where(truth == labels.ignore, 0, volume) for volume in (prediction, truth))
    structures, spacing = recipe.scoring.structures(params), case.geometry.spacing_mm_zyx
    return {
        name: find_lesions(np.isin(prediction, structures[name]), np.isin(truth, structures[name]), spacing, rule)
        for name, rule in rules.items()
    }


def mark_lesions(maps: Mapping[str, LesionMap], codes: Mapping[str, int] | None = None) -> np.ndarray | None:
    """Whole lesions in one volume (Z, Y, X) uint8: `SAME` where found, `EXTRA` where false, `MISSING` where missed.

    Where structures overlap, missed hides false, and false hides found. A lesion that is too small to count is left
    out.

    Args:
        maps: by structure.
        codes: kind to code; None: `KIND_CODES`.

    Returns:
        None if there are no maps.
    """
    marked: np.ndarray | None = None
    for kind, code in (codes or KIND_CODES).items():
        for found in maps.values():
            if marked is None:
                marked = np.zeros(found.shape, np.uint8)
            chosen = [lesion for lesion in found.of_kind(kind) if lesion.counts]
            of_truth = [lesion.number for lesion in chosen if kind != "false"]
            predicted = [number for lesion in chosen for number in lesion.predictions]
            where = np.isin(found.truth, of_truth) & (found.truth > 0)
            marked[found.box][where | (np.isin(found.prediction, predicted) & (found.prediction > 0))] = code
    return marked
