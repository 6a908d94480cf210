"""A sheared volume is resampled if the run allows it, and its mask returns to the sheared grid."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from helpers.data.case_volumes import with_reading
from helpers.data.geometry import Geometry, largest_cosine
from helpers.data.nnunet.cases import list_cases, read_case
from helpers.data.nnunet.readers import read_mask, write_mask
from helpers.data.shear import perpendicular_grid, resample
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import DataError
from tests.data.dicom_files import write_series
from tests.data.small_volumes import rotation

SIZE = (14, 22, 20)


def tilted(degrees: float, size=SIZE) -> Geometry:
    """A gantry tilted about x, the scan turned in space."""
    angle = np.deg2rad(degrees)
    axes = np.eye(3)
    axes[:, 2] = 0, np.sin(angle), np.cos(angle)
    return Geometry(size, (3.0, 0.8, 0.9), (-12.5, 34.25, 7.0), tuple((rotation(12, -23, 41) @ axes).ravel()))


def places(grid: Geometry) -> np.ndarray:
    """The millimetres (3, Z, Y, X) of every voxel."""
    index = np.indices(grid.size_zyx)[::-1].reshape(3, -1)
    affine = grid.affine_lps()
    return (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *grid.size_zyx)


def ball(grid: Geometry) -> np.ndarray:
    centre = places(grid)[:, grid.size_zyx[0] // 2, grid.size_zyx[1] // 2, grid.size_zyx[2] // 2]
    return (np.linalg.norm(places(grid) - centre[:, None, None, None], axis=0) < 7).astype(np.uint8)


@pytest.mark.parametrize("degrees", [1.0, -16.7, 30.0])
def test_the_perpendicular_grid_holds_every_voxel_and_a_ramp_keeps_its_values(degrees):
    sheared = tilted(degrees)
    straight = perpendicular_grid(sheared)
    assert largest_cosine(np.reshape(straight.direction, (3, 3))) < 1e-12 and straight.sheared == sheared
    whole = np.vstack([places(sheared).reshape(3, -1), np.ones(np.prod(SIZE))])
    inside = (np.linalg.inv(straight.affine_lps()) @ whole)[:3].T
    assert (inside > -0.011).all() and (inside < np.array(straight.size_zyx[::-1]) - 1 + 0.011).all()
    ramp = np.tensordot([0.3, -0.5, 0.2], places(sheared), 1)
    moved = resample(ramp, sheared, straight, "linear")
    covered = resample(np.ones(SIZE), sheared, straight, "linear") == 1
    covered &= resample(np.pad(np.ones([n - 2 for n in SIZE]), 1), sheared, straight, "nearest") == 1
    assert covered.sum() > 1000
    np.testing.assert_allclose(
        moved[covered], np.tensordot([0.3, -0.5, 0.2], places(straight), 1)[covered], atol=1e-9
    )


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_resampling_equals_itks(interpolation):
    import SimpleITK as sitk

    sheared = tilted(20.0)
    straight = perpendicular_grid(sheared)
    voxels = np.random.default_rng(0).normal(size=SIZE).astype(np.float32)

    def as_itk(array: np.ndarray, grid: Geometry) -> sitk.Image:
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(grid.spacing_mm_zyx[::-1])
        image.SetOrigin(grid.origin_mm_xyz)
        image.SetDirection(grid.direction)
        return image

    reference = as_itk(np.zeros(straight.size_zyx, np.float32), straight)
    method = sitk.sitkLinear if interpolation == "linear" else sitk.sitkNearestNeighbor
    theirs = sitk.GetArrayFromImage(
        sitk.Resample(as_itk(voxels, sheared), reference, sitk.Transform(), method, -99.0, sitk.sitkFloat32)
    )
    ours = resample(voxels, sheared, straight, interpolation)
    both = (theirs != -99.0) & (ours != voxels.min())  # they differ by half a voxel in what lies outside
    assert both.sum() > 0.85 * (theirs != -99.0).sum() > 1000
    close = np.isclose(ours[both], theirs[both], atol=1e-4)
    assert close.mean() > 0.999  # ties between two nearest voxels


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_mask_returns_to_the_grid_of_its_file(tmp_path, suffix):
    sheared = tilted(-16.7)
    original = ball(sheared)
    path = write_volume(tmp_path / f"v{suffix}", Volume(original, sheared))
    with pytest.raises(DataError, match=r"sheared.*16\.70 degrees.*allow_shear True"):
        read_volume(path)
    straight = read_volume(path, shear="nearest")
    assert straight.geometry.sheared is not None
    overlap = 2 * (straight.array[0] & ball_like(straight, sheared)).sum()
    assert overlap / (straight.array.sum() + ball_like(straight, sheared).sum()) > 0.95
    back = write_volume(tmp_path / f"mask{suffix}", straight)
    if "nii" in suffix:
        for one, two in ((path, back), (back, path)):
            image = nibabel.load(one)
            np.testing.assert_allclose(image.affine, nibabel.load(two).affine, atol=1e-4)
        returned = np.asarray(nibabel.load(back).dataobj).transpose(2, 1, 0)
        assert returned.shape == SIZE and returned.dtype == np.uint8
        assert 2 * (returned & original).sum() / (returned.sum() + original.sum()) > 0.95
    again = read_volume(back, shear="nearest")
    assert again.geometry.differences_from(straight.geometry) == []


def ball_like(volume: Volume, sheared: Geometry) -> np.ndarray:
    """The ball of the sheared grid, drawn on the grid of another volume."""
    centre = places(sheared)[:, SIZE[0] // 2, SIZE[1] // 2, SIZE[2] // 2]
    return (np.linalg.norm(places(volume.geometry) - centre[:, None, None, None], axis=0) < 7).astype(np.uint8)


def test_a_case_of_nnunet_is_read_and_its_mask_written_on_the_sheared_grid(tmp_path):
    sheared = tilted(12.0)
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    image = np.tensordot([0.3, -0.5, 0.2], places(sheared), 1).astype(np.float32)
    write_volume(tmp_path / "imagesTr" / "a.nii.gz", Volume(image, sheared))
    write_volume(tmp_path / "labelsTr" / "a.nii.gz", Volume(ball(sheared), sheared))
    with pytest.raises(DataError, match="allow_shear"):
        read_case(list_cases(tmp_path)[0])
    (files,) = with_reading(list_cases(tmp_path), "", True)
    case = read_case(files)
    grid = case.require_geometry()
    assert case.image.shape[1:] == grid.size_zyx == case.require_truth().shape
    write_mask(tmp_path / "mask.nii.gz", case.require_truth(), case)
    written = nibabel.load(tmp_path / "mask.nii.gz")
    assert written.shape == SIZE[::-1]
    np.testing.assert_allclose(written.affine, nibabel.load(files.files["0000"]).affine, atol=1e-4)
    again = read_mask(tmp_path / "mask.nii.gz", case)
    assert 2 * (again & case.require_truth()).sum() / (again.sum() + case.require_truth().sum()) > 0.95


def test_a_series_with_a_tilted_gantry_is_resampled(tmp_path):
    positions = [(-3.0, -4.0 + 0.5 * index, 2.0 * index) for index in range(8)]
    folder: Path = write_series(tmp_path / "p", positions=positions, planes=[np.full((1, 20, 24), 7, np.int16)] * 8)
    (files,) = with_reading(list_cases(folder), "", True)
    case = read_case(files)
    assert case.require_geometry().spacing_mm_zyx == pytest.approx((2.0, 0.8, 0.8))
    assert case.image.shape[2] > 20 and set(np.unique(case.image)) == {7}
