"""The readers agree with ITK and nibabel on every type, byte order, encoding and direction."""

from __future__ import annotations

import bz2
import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest

from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import DataError
from tests.data.small_volumes import DIRECTIONS, grid, voxels

TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
FILES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")


def write_by_itk(path: Path, array: np.ndarray, direction: np.ndarray, packed: bool):
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.5, 0.75, 2.5))
    image.SetOrigin((-12.5, 34.25, 7.0))
    image.SetDirection(direction.ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=packed)
    return sitk.ReadImage(str(path))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", FILES)
def test_every_type_and_direction_is_read_as_itk_reads_it(tmp_path, suffix, packed):
    for dtype in TYPES:
        for name, direction in DIRECTIONS.items():
            path = tmp_path / f"v{suffix}"
            image = write_by_itk(path, voxels(dtype), direction, packed)
            volume = read_volume(path)
            assert volume.array.dtype == dtype and volume.array.dtype.isnative
            assert np.array_equal(volume.array[0], voxels(dtype)), (dtype, name)
            np.testing.assert_allclose(volume.geometry.spacing_mm_zyx[::-1], image.GetSpacing(), rtol=1e-12)
            np.testing.assert_allclose(volume.geometry.origin_mm_xyz, image.GetOrigin(), rtol=1e-12)
            np.testing.assert_allclose(volume.geometry.direction, image.GetDirection(), atol=2e-7, err_msg=name)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_nifti_2_is_read_as_nibabel_reads_it(tmp_path, name, order):
    affine = np.diag([-0.5, -0.75, 2.5, 1.0])
    affine[:3, 3] = 12.5, -34.25, 7.0
    image = nibabel.Nifti2Image(voxels().transpose(2, 1, 0), affine, nibabel.Nifti2Header(endianness=order))
    image.header.set_slope_inter(2.0, -1.0)
    nibabel.save(image, tmp_path / name)
    volume = read_volume(tmp_path / name)
    expected = nibabel.load(tmp_path / name).get_fdata().transpose(2, 1, 0)
    np.testing.assert_allclose(volume.array[0], expected, rtol=1e-6)
    assert volume.geometry.differences_from(grid(), 1e-6) == []


@pytest.mark.parametrize("dtype", TYPES)
def test_scaled_voxels_have_the_values_and_the_type_of_itk(tmp_path, dtype):
    import SimpleITK as sitk

    image = nibabel.Nifti1Image(voxels(dtype).transpose(2, 1, 0), np.eye(4), dtype=dtype)
    nibabel.save(image, tmp_path / "v.nii")
    fields = bytearray((tmp_path / "v.nii").read_bytes())
    struct.pack_into("<ff", fields, 112, 0.37, -5.5)  # scl_slope, scl_inter
    (tmp_path / "v.nii").write_bytes(fields)
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "v.nii")))
    volume = read_volume(tmp_path / "v.nii")
    assert volume.array.dtype == expected.dtype
    np.testing.assert_allclose(volume.array[0], expected, rtol=1e-6)


def test_a_slope_of_0_means_no_scaling(tmp_path):
    nibabel.save(nibabel.Nifti1Image(voxels().transpose(2, 1, 0), np.eye(4)), tmp_path / "v.nii")
    content = bytearray((tmp_path / "v.nii").read_bytes())
    struct.pack_into("<ff", content, 112, 0.0, 5.0)
    (tmp_path / "v.nii").write_bytes(content)
    volume = read_volume(tmp_path / "v.nii")
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array[0], voxels())


def test_a_pair_of_header_and_image_is_one_volume(tmp_path):
    nibabel.save(nibabel.Nifti1Pair(voxels().transpose(2, 1, 0), np.eye(4)), tmp_path / "v.hdr")
    for name in ("v.hdr", "v.img"):
        assert np.array_equal(read_volume(tmp_path / name).array[0], voxels())


@pytest.mark.parametrize(("encoding", "pack"), [("bzip2", bz2.compress), ("gzip", gzip.compress), ("raw", bytes)])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_nrrd_of_every_encoding_and_space(tmp_path, encoding, pack, endian):
    stored = voxels().astype("<i2" if endian == "little" else ">i2").tobytes()
    for space, signs in (
        ("left-posterior-superior", (1, 1)),
        ("right-anterior-superior", (-1, -1)),
        ("LAS", (1, -1)),
    ):
        header = (
            f"NRRD0004\n# a comment\ntype: short\ndimension: 3\nspace: {space}\nsizes: 6 5 4\n"
            "space directions: (0.5,0,0) (0,0.75,0) (0,0,2.5)\nkinds: domain domain domain\n"
            f"endian: {endian}\nencoding: {encoding}\nspace origin: (-12.5,34.25,7)\nkey:=value: with a colon\n\n"
        )
        (tmp_path / "v.nrrd").write_bytes(header.encode() + pack(stored))
        volume = read_volume(tmp_path / "v.nrrd")
        assert np.array_equal(volume.array[0], voxels())
        assert volume.geometry.origin_mm_xyz == (-12.5 * signs[0], 34.25 * signs[1], 7.0)
        assert volume.geometry.direction == (signs[0], 0, 0, 0, signs[1], 0, 0, 0, 1)


def test_a_segmentation_of_slicer_with_one_layer_is_a_volume(tmp_path):
    header = (
        "NRRD0004\ntype: unsigned char\ndimension: 4\nspace: left-posterior-superior\nsizes: 1 6 5 4\n"
        "space directions: none (0.5,0,0) (0,0.75,0) (0,0,2.5)\nkinds: list domain domain domain\n"
        "encoding: gzip\nspace origin: (-12.5,34.25,7)\nSegment0_ID:=Segment_1\n\n"
    )
    (tmp_path / "v.seg.nrrd").write_bytes(header.encode() + gzip.compress(voxels("uint8").tobytes()))
    volume = read_volume(tmp_path / "v.seg.nrrd")
    assert np.array_equal(volume.array[0], voxels("uint8")) and volume.geometry == grid()


@pytest.mark.parametrize(("mins", "is_read"), [("nan nan nan", True), ("10 20 30", False)])
def test_an_nrrd_without_a_space_must_not_place_its_axes(tmp_path, mins, is_read):
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nspacings: 0.5 0.75 2.5\n"
        f"axis mins: {mins}\nendian: little\nencoding: raw\n\n"
    )
    (tmp_path / "v.nrrd").write_bytes(header.encode() + voxels().astype("<i2").tobytes())
    if is_read:
        assert read_volume(tmp_path / "v.nrrd").geometry.spacing_mm_zyx == (2.5, 0.75, 0.5)
    else:
        with pytest.raises(DataError, match="axis mins"):
            read_volume(tmp_path / "v.nrrd")


def test_gzip_in_several_members_is_one_stream(tmp_path):
    write_volume(tmp_path / "v.nii", Volume(voxels(), grid()))
    content = (tmp_path / "v.nii").read_bytes()
    members = [content[start : start + 100] for start in range(0, len(content), 100)]
    (tmp_path / "v.nii.gz").write_bytes(b"".join(map(gzip.compress, members)) + gzip.compress(b""))  # as bgzip
    assert np.array_equal(read_volume(tmp_path / "v.nii.gz").array[0], voxels())


@pytest.mark.parametrize("name", ["V.NII", "V.NII.GZ", "V.MHA", "V.NRRD", "v.Nii.gz"])
def test_suffixes_are_read_in_any_case(tmp_path, name):
    write_volume(tmp_path / f"lower{name.lower()[1:]}", Volume(voxels(), grid())).rename(tmp_path / name)
    assert np.array_equal(read_volume(tmp_path / name).array[0], voxels())
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-30])
    with pytest.raises(DataError, match="truncated"):
        read_volume(tmp_path / name)
