"""What a case reserves is at least what its arrays take, and not several times as much."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from helpers import recipes
from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, write_volume
from helpers.inference.predictor import CallablePredictor


@pytest.mark.parametrize("relative", [0.7, 1.0, 1.5], ids=["shrinks", "stays", "grows"])
def test_of_a_volume_that_fills_its_file(tmp_path, relative):
    recipe = recipes.load("unetpp3d_liver")
    params = recipe.prepare_params(profile="demo", data_root=str(tmp_path))
    plan = recipe.model.plan(params)
    (tmp_path / "imagesTs").mkdir()
    image = np.random.default_rng(0).integers(1, 100, (48, 160, 176)).astype(np.int16)
    grid = Geometry.identity(image.shape, tuple(relative * mm for mm in plan.spacing_mm))
    write_volume(tmp_path / "imagesTs" / "case_0000.nii.gz", Volume(image, grid))
    (files,) = recipe.cases.list_cases(tmp_path, params)
    classes = np.arange(plan.n_outputs, dtype=np.float32).reshape(1, -1, 1, 1, 1)
    predictor = CallablePredictor(lambda batch: classes * batch[:, :1])
    tracemalloc.start()
    try:
        case = recipe.cases.read_case(files, params)
        tracemalloc.reset_peak()
        recipe.preparation.segment(case, predictor, params)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= recipe.preparation.peak_bytes(case, params) <= 4 * peak
