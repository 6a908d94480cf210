"""Real volumes through the two recipes: the mask's grid is the image's for two readers, and no patch is written."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from helpers import recipes
from helpers.inference import as_predictor
from tests.recipes.nnunet_models import tiny

CASES = {"heart_2d": ("Task02_Heart", "la_001"), "liver": ("Task03_Liver", "liver_3")}


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_the_mask_is_on_the_images_grid_and_nothing_else_is_written(kind, tmp_path):
    root = os.environ.get("COOKBOOK_DATA")
    if not root:
        pytest.skip("COOKBOOK_DATA is not set")
    task, case_id = CASES[kind]
    model = tiny(kind)
    recipe = recipes.load(model.recipe)
    folder = model.write(tmp_path / "model", 1)
    given = {"checkpoint": str(folder), "data_root": str(Path(root, "msd-like", task)), "mirror_axes": []}
    params = recipe.prepare_params(profile="cpu", tile_step_size=1.0, **given)
    (files,) = [
        case for case in recipe.cases.list_cases(recipe.cases.data_folder(params), params) if case.id == case_id
    ]
    case, network = recipe.cases.read_case(files, params), recipe.model.load_for_export(params)

    def infer(batch):
        with torch.inference_mode():
            return network(torch.from_numpy(batch)).numpy()

    before = written_bytes()
    classes = recipe.preparation.segment(case, as_predictor(infer), params)
    assert written_bytes() - before < 1000  # not a byte of a patch; a log line may pass
    mask = tmp_path / f"{case_id}.nii.gz"
    recipe.cases.write_mask(classes, case, mask)
    image = files.files["0000"]
    ours, theirs = sitk.ReadImage(str(mask)), sitk.ReadImage(str(image))
    for part in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(ours, part)(), getattr(theirs, part)(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(nibabel.load(mask).affine, nibabel.load(image).affine, rtol=0, atol=1e-5)
    assert nibabel.load(mask).shape == nibabel.load(image).shape


def written_bytes() -> int:
    """Bytes that this process passed to write calls."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text(encoding="utf-8").splitlines())
    return int(counts["wchar"])
