"""Masks that an editor saved with other data types are read as labels."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import recipes
from helpers.data.case import Case
from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import DataError
from helpers.recipes.parts import read_mask_on_grid


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_edited_mask_of_nearly_whole_numbers_keeps_its_voxels(tmp_path, dtype):
    grid = Geometry((3, 4, 5), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    case = Case("a", np.zeros((1, 3, 4, 5), np.float32), None, grid)
    labels = np.zeros((3, 4, 5), dtype)
    labels[1, 1:3, 2:4] = 0.9999
    mask = read_mask_on_grid(write_volume(tmp_path / "mask.nii.gz", Volume(labels, grid)), case)
    assert mask.dtype.kind == "i" and mask.sum() == 4 and np.array_equal(mask, labels > 0.5)
    labels[0, 0, 0] = 0.5
    with pytest.raises(DataError, match=r"mask\.nii\.gz holds values that are not class indices: received 0\.5"):
        read_mask_on_grid(write_volume(tmp_path / "mask.nii.gz", Volume(labels, grid)), case)


@pytest.mark.parametrize(("convention", "enhancing"), [("2013", 4), ("2018", 4), ("2023", 3), ("2024", 3)])
def test_an_editor_is_given_the_values_that_the_mask_of_a_case_holds(tmp_path, convention, enhancing):
    recipe = recipes.load("unet3d_brats")
    grid = Geometry((1, 1, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    case = Case("a", np.zeros((4, 1, 1, 4), np.float32), None, grid, {"convention": convention})
    labels = recipe.labels(recipe.prepare_params())
    assert recipe.cases.mask_values(case, labels) == (0, 1, 2, enhancing)
    recipe.cases.write_mask(np.array([[[0, 1, 2, 3]]], np.uint8), case, tmp_path / "mask.nii.gz")
    assert read_volume(tmp_path / "mask.nii.gz").array.ravel().tolist() == [0, 1, 2, enhancing]
