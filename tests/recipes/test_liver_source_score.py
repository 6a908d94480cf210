"""The score of the liver's source: in limited time one window per case, else whole cases next to the run's masks."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.data.case import Case
from helpers.data.geometry import Geometry
from helpers.inference.predictor import CallablePredictor
from helpers.inference.time_limit import BoundedPredictor, TimeLimit
from helpers.recipes import load
from helpers.recipes.unetpp3d_liver import _around_truth


@pytest.fixture
def case() -> Case:
    truth = np.zeros((40, 90, 100), np.uint8)
    truth[30:36, 70:80, 5:15] = 1
    image = np.where(truth, 100, -500).astype(np.float32)[None]
    return Case("a", image, truth, Geometry.identity(truth.shape, (2.0, 1.0, 1.0)))


def test_the_window_is_within_the_case_and_around_the_truth(case):
    plan = SimpleNamespace(patch_size=(16, 32, 48), spacing_mm=(4.0, 1.0, 0.5), transpose_forward=(0, 1, 2))
    part = _around_truth(case, plan)
    assert part.image.shape == (1, 32, 32, 24) and part.truth.sum() == case.truth.sum()
    assert part.geometry.size_zyx == (32, 32, 24)
    turned = SimpleNamespace(patch_size=(16, 32, 48), spacing_mm=(1.0, 1.0, 1.0), transpose_forward=(2, 0, 1))
    assert _around_truth(case, turned).image.shape == (1, 16, 48, 16)


@pytest.mark.parametrize("seconds", [math.inf, 1e6])
def test_limited_time_takes_one_window_and_unlimited_the_run_s_mask(case, seconds, monkeypatch):
    recipe = load("unetpp3d_liver")
    params = recipe.prepare_params(profile="demo")
    seen = []

    def segment(self, part, predictor, used):
        seen.append((part.image.shape, tuple(used.mirror_axes or ())))
        return np.zeros(part.image.shape[1:], np.uint8)

    monkeypatch.setattr(type(recipe.preparation), "segment", segment)
    predictor = CallablePredictor(lambda batch: batch)
    limited = BoundedPredictor(predictor, TimeLimit(seconds)) if math.isfinite(seconds) else predictor
    coarse = Geometry.identity(case.truth.shape, (20.0, 10.0, 10.0))
    made = replace(case, prediction=case.truth.copy(), geometry=coarse)
    result = recipe.scoring.score_as_source([made], limited, params)
    mirrors = [axes for _, axes in seen]
    if math.isfinite(seconds):
        assert mirrors == [(), (0, 1, 2)] and seen[0][0] != case.image.shape
        assert result.done == "one window of each of 1 of 1 cases"
    else:
        assert mirrors == [(0, 1, 2)] and seen[0][0] == case.image.shape
        assert result.rows["the model's mirrors"]["liver"] == 1
