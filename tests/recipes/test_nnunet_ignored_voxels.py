"""Voxels with the ignore label are in no metric, and the label itself is not a tissue."""

from __future__ import annotations

import json

import numpy as np
import pytest

from helpers import recipes
from tests.recipes.nnunet_models import tiny, write_task


@pytest.fixture()
def opened(tmp_path):
    """The recipe and its parameters for a model of liver and cancer with an ignore label."""
    model = tiny("liver_plain")
    folder = model.write(tmp_path, 2)
    dataset = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    dataset["labels"] = {"background": 0, "liver": 1, "cancer": 2, "ignore": 3}
    (folder / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
    recipe = recipes.load("nnunet")
    task = write_task(tmp_path, model.recipe)
    return recipe, recipe.prepare_params(profile="cpu", checkpoint=str(folder), data_root=str(task))


def test_they_are_in_no_metric(opened):
    recipe, params = opened
    truth = np.array([0, 1, 1, 2, 3, 3, 3])
    prediction = np.array([0, 1, 1, 2, 1, 2, 0])  # wrong nowhere but in ignored voxels
    assert recipe.scoring.score(prediction, truth, params) == {"liver": 1.0, "cancer": 1.0}
    metrics = recipe.scoring.describe_case(prediction, truth, params)
    assert set(metrics) == {"1", "2"}
    assert metrics["1"] == {"Dice": 1.0, "IoU": 1.0, "FN": 0, "FP": 0, "TN": 2, "TP": 2, "n_pred": 2, "n_ref": 2}


def test_the_label_is_not_one_of_the_masks(opened):
    recipe, params = opened
    labels = recipe.labels(params)
    assert (labels.names, labels.ignore) == (("background", "liver", "cancer"), 3)
    assert recipe.score_names(params) == ("liver", "cancer")
