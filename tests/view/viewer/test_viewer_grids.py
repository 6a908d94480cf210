"""Orientation, display proxy and NIfTI bytes, compared with SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scenes import directions, grid, make_case, to_sitk

from helpers.view.orientation import LpsOrder
from helpers.view.proxy import block_sizes, proxy_geometry, shrink_image, shrink_labels
from helpers.view.viewer.niivue import nifti_bytes


@pytest.mark.parametrize("direction", directions())
def test_the_lps_order_agrees_with_simpleitk(direction):
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    geometry = grid(array.shape, direction)
    order = LpsOrder.of(geometry)
    wanted = sitk.DICOMOrient(to_sitk(array, geometry), "LPS")
    assert np.array_equal(order.view(array), sitk.GetArrayFromImage(wanted))
    ours = order.geometry(geometry)
    assert ours.size_zyx == wanted.GetSize()[::-1]
    for mine, theirs in (
        (ours.spacing_mm_zyx[::-1], wanted.GetSpacing()),
        (ours.origin_mm_xyz, wanted.GetOrigin()),
        (ours.direction, wanted.GetDirection()),
    ):
        assert np.allclose(mine, theirs)
    position = (1, 2, 1)
    assert array[order.index_in_file(position, ours.size_zyx)] == order.view(array)[position]


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("direction", [directions()[5], directions()[-1]])
def test_the_proxy_agrees_with_a_bin_shrink(dtype, direction):
    shape, blocks = (12, 20, 18), (3, 2, 2)
    array = np.random.default_rng(1).integers(-1000, 1000, shape).astype(dtype)
    geometry = grid(shape, direction)
    wanted = sitk.BinShrink(to_sitk(array, geometry), blocks[::-1])
    small, place = shrink_image(array, blocks), proxy_geometry(geometry, blocks)
    assert small.dtype == dtype and small.shape == place.size_zyx == wanted.GetSize()[::-1]
    assert np.abs(small - sitk.GetArrayFromImage(wanted).astype(np.float64)).max() <= (
        1 if dtype == np.int16 else 1e-3
    )
    assert np.allclose(place.origin_mm_xyz, wanted.GetOrigin())
    assert np.allclose(place.spacing_mm_zyx[::-1], wanted.GetSpacing())


def test_an_incomplete_block_keeps_its_voxels():
    array = np.zeros((5, 7, 7), np.int16)
    array[4, 6, 6] = 100
    assert shrink_image(array, (2, 2, 2))[2, 3, 3] == 100
    assert shrink_image(array, (2, 2, 2)).shape == (3, 4, 4)


def test_no_label_is_lost_in_the_proxy():
    labels = np.zeros((11, 13, 9), np.uint8)
    labels[10, 12, 8], labels[3, 3, 3] = 1, 2
    small = shrink_labels(lambda where: labels[where], labels.shape, (3, 2, 4))
    assert small.shape == (4, 7, 3)
    assert [tuple(at) for at in np.argwhere(small)] == [(1, 1, 0), (3, 6, 2)]


def test_the_proxy_of_a_large_ct_is_small_enough():
    blocks = block_sizes((600, 512, 512))
    assert blocks == (3, 3, 3)
    assert proxy_geometry(grid((600, 512, 512)), blocks).size_zyx == (200, 171, 171)
    assert block_sizes((600, 512, 512), most_voxels=256**3) == (3, 2, 2)
    assert block_sizes((240, 240, 100)) == (1, 1, 1)


@pytest.mark.parametrize("direction", directions())
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_nifti_bytes_are_the_same_volume_to_simpleitk(dtype, direction, tmp_path):
    array = make_case()["image"].astype(dtype)
    geometry = grid(array.shape, direction)
    (tmp_path / "x.nii").write_bytes(nifti_bytes(array, geometry))
    read = sitk.ReadImage(str(tmp_path / "x.nii"))
    ours = to_sitk(array, geometry)
    largest = np.abs(array.astype(float)).max()
    for index in ((0, 0, 0), (15, 13, 11), (3, 9, 2)):
        point = ours.TransformIndexToPhysicalPoint(index)
        there = read[read.TransformPhysicalPointToIndex(point)]
        assert np.allclose(
            read.TransformIndexToPhysicalPoint(read.TransformPhysicalPointToIndex(point)), point, atol=1e-4
        )
        assert abs(there - ours[index]) <= (largest / 30_000 if dtype == np.float32 else 0)
