"""Invalid volumes are refused before anything is written, and a failed write leaves the old file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from helpers.data.volume import Volume, write_volume
from helpers.errors import DataError
from tests.data.small_volumes import grid, voxels


@pytest.mark.parametrize("dtype", ["bool", "float16"])
def test_an_unsupported_dtype_is_refused_before_anything_is_written(tmp_path, dtype):
    with pytest.raises(DataError, match=dtype):
        write_volume(tmp_path / "v.nii.gz", Volume(np.zeros((4, 5, 6), dtype), grid()))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd", ".png", ""])
def test_a_suffix_that_cannot_be_written_in_one_step_is_refused(tmp_path, suffix):
    with pytest.raises(DataError):
        write_volume(tmp_path / f"v{suffix}", Volume(voxels(), grid()))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("shape", [(2, 4, 5, 6), (4, 5, 7), (5, 6)])
def test_an_array_that_does_not_fit_its_geometry_is_refused(tmp_path, shape):
    with pytest.raises(DataError, match="cannot write"):
        write_volume(tmp_path / "v.nii.gz", Volume(np.zeros(shape, np.uint8), grid()))
    assert os.listdir(tmp_path) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    import SimpleITK as sitk

    path = write_volume(tmp_path / "v.nii.gz", Volume(voxels(), grid()))
    before = path.read_bytes()

    def fill_the_disk(image, name, **options):
        Path(name).write_bytes(b"half")
        raise RuntimeError("ITK ERROR:\nnifti_image_write: no space left")

    monkeypatch.setattr(sitk, "WriteImage", fill_the_disk)
    with pytest.raises(DataError, match="no space left"):
        write_volume(path, Volume(voxels("uint8"), grid()))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["v.nii.gz"]
