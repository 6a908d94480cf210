"""Every unusable field of a header is refused by one line that names the file and the field."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import header_dtype

from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import DataError
from tests.data.small_volumes import grid, voxels


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_volume(path)
    line = caught.value.line()
    assert str(path) in line and "\n" not in line
    return line


def with_field(folder: Path, field: str, value: float, index: int | None = None) -> Path:
    """A NIfTI-1 file, one field of whose header has another value."""
    path = folder / "v.nii"
    nibabel.save(nibabel.Nifti1Image(voxels("float32").transpose(2, 1, 0), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    dtype, offset = header_dtype.fields[field][:2]
    kind = {"f": "f", "i": {1: "b", 2: "h", 4: "i"}.get(dtype.base.itemsize), "u": "B"}[dtype.base.kind]
    struct.pack_into(f"<{kind}", content, offset + dtype.base.itemsize * (index or 0), value)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("field", "index", "value", "named"),
    [
        ("dim", 0, 0, "dim[0]"),
        ("dim", 0, -3, "dim[0]"),
        ("dim", 0, 8, "dim[0]"),
        ("dim", 1, -4, "dim[1]"),
        ("dim", 3, 0, "dim[3]"),
        ("pixdim", 1, 0.0, "pixdim[1]"),
        ("pixdim", 2, np.nan, "pixdim[2]"),
        ("pixdim", 3, np.inf, "pixdim[3]"),
        ("bitpix", None, -32, "bitpix"),
        ("bitpix", None, 16, "bitpix"),
        ("datatype", None, 1, "datatype"),
        ("datatype", None, 9999, "datatype"),
        ("vox_offset", None, np.nan, "vox_offset"),
        ("vox_offset", None, np.inf, "vox_offset"),
        ("vox_offset", None, -352, "vox_offset"),
        ("vox_offset", None, 0, "vox_offset"),
        ("vox_offset", None, 352.5, "vox_offset"),
        ("vox_offset", None, 1e30, "vox_offset"),
        ("scl_slope", None, np.inf, "scl_slope"),
        ("srow_x", 0, np.nan, "sform"),
        ("srow_y", 3, np.inf, "sform"),
        ("srow_z", 2, 0.0, "axis z of length 0"),
        ("xyzt_units", None, 5, "xyzt_units"),
        ("sizeof_hdr", None, 349, "348 (NIfTI-1)"),
    ],
)
def test_a_field_of_nifti_is_named(tmp_path, field, index, value, named):
    path = with_field(tmp_path, field, value, index)
    assert named in refusal(path)


def test_an_intercept_that_is_not_finite_is_named(tmp_path):
    path = with_field(tmp_path, "scl_inter", np.nan)
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, 112, 2.0)
    path.write_bytes(content)
    assert "scl_inter" in refusal(path)


def test_a_quaternion_that_is_none_is_named(tmp_path):
    image = nibabel.Nifti1Image(voxels().transpose(2, 1, 0), np.eye(4))
    image.set_sform(None, 0)
    image.set_qform(np.eye(4), 1)
    nibabel.save(image, tmp_path / "v.nii")
    content = bytearray((tmp_path / "v.nii").read_bytes())
    struct.pack_into("<f", content, header_dtype.fields["quatern_b"][1], 3.0)
    (tmp_path / "v.nii").write_bytes(content)
    assert "quatern_b" in refusal(tmp_path / "v.nii")


def test_the_remedy_for_a_pixdim_of_0_works(tmp_path):
    path = with_field(tmp_path, "pixdim", 0.0, 3)
    line = refusal(path)
    assert "nibabel.Nifti1Image(image.dataobj, image.affine)" in line
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(image.dataobj, image.affine), tmp_path / "again.nii")
    assert np.array_equal(read_volume(tmp_path / "again.nii").array[0], voxels("float32"))


def changed(folder: Path, suffix: str, old: str, new: str) -> Path:
    path = write_volume(folder / f"v{suffix}", Volume(voxels(), grid()))
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("NDims = 3", "NDims = 99", "NDims"),
        ("NDims = 3", "NDims = 2", "TransformMatrix|DimSize"),
        ("DimSize = 6 5 4", "DimSize = 6 5 -4", "DimSize"),
        ("DimSize = 6 5 4", "DimSize = 6 5", "DimSize"),
        ("DimSize = 6 5 4", "DimSize = 6 5 99999999999999999999", "DimSize"),
        ("DimSize = 6 5 4", "DimSize = 6 5 1048576", "truncated"),
        ("ElementSpacing = 0.5 0.75 2.5", "ElementSpacing = 0.5 0 2.5", "ElementSpacing"),
        ("ElementSpacing = 0.5 0.75 2.5", "ElementSpacing = 0.5 nan 2.5", "ElementSpacing"),
        ("ElementSpacing = 0.5 0.75 2.5", "ElementSpacing = 0.5 -0.75 2.5", "ElementSpacing"),
        ("ElementSpacing = 0.5 0.75 2.5\n", "", "ElementSpacing"),
        ("Offset = -12.5", "Offset = inf", "Offset"),
        ("TransformMatrix = 1", "TransformMatrix = 0", "TransformMatrix"),
        ("TransformMatrix = 1 0", "TransformMatrix = nan 0", "TransformMatrix"),
        ("TransformMatrix = 1 0", "TransformMatrix = 2 0", "TransformMatrix"),
        ("MET_SHORT", "MET_OTHER", "ElementType"),
        ("ObjectType = Image", "ObjectType = Scene", "ObjectType"),
        ("BinaryData = True", "BinaryData = False", "BinaryData"),
        ("CompressedData = True", "CompressedData = perhaps", "CompressedData"),
        ("ElementDataFile = LOCAL", "ElementDataFile = LIST", "ElementDataFile"),
        ("ElementDataFile = LOCAL", "ElementDataFile = %s%s%s%n", "ElementDataFile"),
        ("ElementDataFile = LOCAL", "ElementDataFile = slice_%03d.raw 1 4 1", "ElementDataFile"),
        ("ElementType = MET_SHORT", "ElementType = MET_SHORT\nElementType = MET_SHORT", "ElementType"),
        ("ElementType = MET_SHORT", "ElementToIntensityFunctionSlope = 2\nElementType = MET_SHORT", "Slope"),
        ("ElementType = MET_SHORT", "ElementNumberOfChannels = 3\nElementType = MET_SHORT", "scalar"),
    ],
)
def test_a_field_of_metaimage_is_named(tmp_path, old, new, named):
    assert re.search(named, refusal(changed(tmp_path, ".mha", old, new)))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("NRRD0004", "NRRD0009", "first line"),
        ("dimension: 3", "dimension: 300", "dimension"),
        ("dimension: 3", "dimension: 2", "sizes"),
        ("sizes: 6 5 4", "sizes: 6 5 0", "sizes"),
        ("sizes: 6 5 4", "sizes: 6 5 1048576", "truncated"),
        ("type: short", "type: block", "scalar"),
        ("type: short", "type: half", "type"),
        ("endian: little", "endian: middle", "endian"),
        ("endian: little\n", "", "endian"),
        ("encoding: gzip", "encoding: ascii", "encoding"),
        ("encoding: gzip", "encoding: gzip\nencoding: raw", "encoding"),
        ("space directions: (0.5", "space directions: (nan", "space directions"),
        ("space directions: (0.5", "space directions: (0", "axis x of length 0"),
        ("space directions: (0.5,0,0)", "space directions: none", "space directions"),
        ("space origin: (-12.5", "space origin: (inf", "space origin"),
        ("left-posterior-superior", "scanner-xyz", "space"),
        ("kinds:", 'space units: "cm" "cm" "cm"\nkinds:', "space units"),
        ("kinds:", "byte skip: 5\nkinds:", "byte skip"),
        ("kinds:", "no colon\nkinds:", "line"),
    ],
)
def test_a_field_of_nrrd_is_named(tmp_path, old, new, named):
    assert named in refusal(changed(tmp_path, ".nrrd", old, new))


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(400), "v.nii", "PNG"),
        (b"<html>" + bytes(400), "v.nrrd", "HTML"),
        (b"NRRD0004\n" + bytes(40), "v.mha", "NRRD"),
        (b"\x5c\x01\x00\x00" + bytes(400), "v.mha", "NIfTI"),
        (bytes(128) + b"DICM" + bytes(300), "v.nii", "DICOM"),
        (b"PK\x03\x04" + bytes(300), "v.nii.gz", "not gzip"),
    ],
)
def test_a_file_of_another_kind_is_named_by_its_content(tmp_path, content, name, said):
    (tmp_path / name).write_bytes(content)
    assert said in refusal(tmp_path / name)


def test_names_that_contradict_the_content_say_so(tmp_path):
    packed = write_volume(tmp_path / "v.nii.gz", Volume(voxels(), grid())).rename(tmp_path / "packed.nii")
    plain = write_volume(tmp_path / "v.nii", Volume(voxels(), grid())).rename(tmp_path / "plain.nii.gz")
    assert "gzip, although its name does not say so" in refusal(packed) and "packed.nii.gz" in refusal(packed)
    assert "not gzip, although its name says so" in refusal(plain)


def test_what_is_not_a_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "v.nii")
    assert "is not a file" in refusal(tmp_path / "v.nii")
    (tmp_path / "v.mgz").write_bytes(b"x")
    with pytest.raises(DataError, match="suffix"):
        read_volume(tmp_path / "v.mgz")
