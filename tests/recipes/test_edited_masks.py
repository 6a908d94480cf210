"""Masks that an editor saved with other data types are read as labels."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.data.case import Case
from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, write_volume
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
