"""Volumes survive the round trip exactly and agree with a second reader."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from helpers.data.volume import Volume, read_volume, write_volume
from tests.data.small_volumes import DIRECTIONS, FORMATS, grid, voxels

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_voxels_and_dtype_survive_in_every_format(tmp_path, suffix, dtype):
    path = write_volume(tmp_path / f"v{suffix}", Volume(voxels(dtype)[None], grid()))
    back = read_volume(path)
    assert back.array.dtype == dtype
    assert back.array.shape == (1, 4, 5, 6) and back.array.flags.c_contiguous
    assert np.array_equal(back.array[0], voxels(dtype))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", DIRECTIONS)
def test_geometry_survives_in_every_format(tmp_path, suffix, name):
    wanted = grid(DIRECTIONS[name])
    back = read_volume(write_volume(tmp_path / f"v{suffix}", Volume(voxels(), wanted))).geometry
    # NIfTI has single precision, the others keep the given one.
    assert back.differences_from(wanted, 1e-5 if "nii" in suffix else 1e-12) == []


@pytest.mark.parametrize("name", DIRECTIONS)
def test_nibabel_sees_the_same_voxels_at_the_same_places(tmp_path, name):
    geometry = grid(DIRECTIONS[name])
    path = write_volume(tmp_path / "v.nii.gz", Volume(voxels(), geometry))
    image = nibabel.load(path)
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), voxels())
    lps_to_ras = np.diag([-1.0, -1.0, 1.0])
    axes = lps_to_ras @ DIRECTIONS[name] @ np.diag(geometry.spacing_mm_zyx[::-1])
    np.testing.assert_allclose(image.affine[:3, :3], axes, atol=1e-5)
    np.testing.assert_allclose(image.affine[:3, 3], lps_to_ras @ geometry.origin_mm_xyz, atol=1e-5)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_files_of_nibabel_are_read_at_the_same_places(tmp_path, name):
    lps_to_ras = np.diag([-1.0, -1.0, 1.0])
    affine = np.eye(4)
    affine[:3, :3] = lps_to_ras @ DIRECTIONS[name] @ np.diag([0.5, 0.75, 2.5])
    affine[:3, 3] = lps_to_ras @ [-12.5, 34.25, 7.0]
    nibabel.save(nibabel.Nifti1Image(voxels().transpose(2, 1, 0), affine), tmp_path / "v.nii.gz")
    back = read_volume(tmp_path / "v.nii.gz")
    assert back.geometry.differences_from(grid(DIRECTIONS[name]), 1e-5) == []
    assert np.array_equal(back.array[0], voxels())


def test_slope_and_intercept_are_applied(tmp_path):
    image = nibabel.Nifti1Image(voxels().transpose(2, 1, 0), np.eye(4))
    image.header.set_slope_inter(2.0, -1.0)
    nibabel.save(image, tmp_path / "v.nii.gz")
    expected = nibabel.load(tmp_path / "v.nii.gz").get_fdata().transpose(2, 1, 0)
    np.testing.assert_allclose(read_volume(tmp_path / "v.nii.gz").array[0], expected)


@pytest.mark.parametrize("trailing", [1, 2])
def test_trailing_axes_of_one_are_dropped(tmp_path, trailing):
    stored = voxels().transpose(2, 1, 0).reshape(6, 5, 4, *[1] * trailing)
    nibabel.save(nibabel.Nifti1Image(stored, np.diag([-0.5, -0.75, 2.5, 1])), tmp_path / "v.nii.gz")
    back = read_volume(tmp_path / "v.nii.gz")
    assert np.array_equal(back.array[0], voxels())
    assert back.geometry.spacing_mm_zyx == (2.5, 0.75, 0.5)


def test_one_slice_is_a_volume(tmp_path):
    flat = Volume(voxels(size=(1, 5, 6)), grid(size=(1, 5, 6)))
    assert read_volume(write_volume(tmp_path / "v.nii.gz", flat)).array.shape == (1, 1, 5, 6)


@pytest.mark.parametrize("endianness", "<>")
def test_files_of_either_byte_order_are_read(tmp_path, endianness):
    header = nibabel.Nifti1Header(endianness=endianness)
    nibabel.save(nibabel.Nifti1Image(voxels().transpose(2, 1, 0), np.eye(4), header), tmp_path / "v.nii")
    assert np.array_equal(read_volume(tmp_path / "v.nii").array[0], voxels())
