"""Each part of a recipe counts for its own code only: a change of one part keeps the results of the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from helpers import recipes
from helpers.errors import ParameterError
from helpers.recipes.base import CaseSource, LabelSet, ModelSource, Preparation, Scoring
from helpers.run.code import project_code

PARTS = {"model": ModelSource, "cases": CaseSource, "preparation": Preparation, "scoring": Scoring}


def reached_by(*roots):
    return {f"{module}:{name}" for module, name in project_code().reach(roots).definitions}


@pytest.mark.parametrize("name", recipes.recipe_names())
def test_a_recipe_is_made_of_four_parts(name):
    recipe = recipes.load(name)
    for part, kind in PARTS.items():
        assert isinstance(getattr(recipe, part), kind)
    params = recipe.prepare_params()
    labels = recipe.labels(params)
    assert len(labels.names) == len(labels.values) == len(set(labels.values))
    assert set(recipe.scoring.headline_scores(params)) <= set(recipe.score_names(params))


def test_the_model_does_not_depend_on_how_a_case_is_prepared():
    recipe = recipes.load("unet3d_brats")
    exported, masks = reached_by(recipe.model), reached_by(recipe.cases, recipe.preparation)
    assert "helpers.recipes.unet3d_brats:BratsPreparation" in masks - exported
    assert "helpers.data.brats:prepare_brats" in masks - exported
    assert "helpers.recipes.unet3d_brats:UNet3DModel" in exported - masks


def test_a_part_reaches_the_parts_that_it_holds():
    recipe = recipes.load("nnunet_heart")
    assert "helpers.recipes.nnunet_heart:HeartModel" in reached_by(recipe.preparation)
    assert "helpers.demo.heart:write_demo_cases" in reached_by(recipe.cases)


def test_labels_come_back_from_json():
    labels = LabelSet(("background", "car"), (0, 255))
    assert LabelSet.from_json(labels.to_json()) == labels


def test_a_model_source_without_a_network_says_so():
    class FileOnly(ModelSource):
        graph_spec = checkpoint_paths = load = None

    with pytest.raises(ParameterError, match="no network of its own"):
        FileOnly().build()
    with pytest.raises(ParameterError, match="not a PyTorch network"):
        FileOnly().load_for_export(None)


def test_a_part_with_values_that_no_cache_key_would_hold_is_refused():
    class Thresholded(type(recipes.load("unet3d_brats").cases)):
        def __init__(self, threshold: float) -> None:
            self.threshold = threshold

    with pytest.raises(TypeError, match=r"Thresholded of the recipe unet3d_brats holds values \(threshold\)"):
        replace(recipes.load("unet3d_brats"), cases=Thresholded(0.5))
