"""Every kind of unusable volume file is refused with one clear line."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import DataError
from tests.data.small_volumes import FORMATS, grid, voxels


def nifti(path: Path, array: np.ndarray, affine=None) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def make_missing(folder):
    return folder / "v.nii.gz"


def make_empty(folder):
    (folder / "v.nii.gz").touch()
    return folder / "v.nii.gz"


def make_pointer(folder):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345678\n"
    (folder / "v.nii.gz").write_text(text, encoding="utf-8")
    return folder / "v.nii.gz"


def make_cut_gzip(folder):
    path = write_volume(folder / "v.nii.gz", Volume(voxels(), grid()))
    path.write_bytes(path.read_bytes()[:-20])
    return path


def make_damaged_gzip(folder):
    path = write_volume(folder / "v.nii.gz", Volume(voxels("float32", (40, 40, 40)), grid(size=(40, 40, 40))))
    content = bytearray(path.read_bytes())
    content[2000:2100] = b"\xff" * 100
    path.write_bytes(content)
    return path


def make_not_gzip(folder):
    path = write_volume(folder / "v.nii", Volume(voxels(), grid()))
    return path.rename(folder / "v.nii.gz")


def make_cut_nifti(folder):
    path = write_volume(folder / "v.nii", Volume(voxels(), grid()))
    path.write_bytes(path.read_bytes()[:-1])
    return path


def make_cut_before_compressing(folder):
    path = write_volume(folder / "v.nii", Volume(voxels(), grid()))
    (folder / "v.nii.gz").write_bytes(gzip.compress(path.read_bytes()[:-100]))
    return folder / "v.nii.gz"


def make_cut_big_endian(folder):
    nibabel.save(nibabel.Nifti1Image(voxels(), np.eye(4), nibabel.Nifti1Header(endianness=">")), folder / "v.nii")
    (folder / "v.nii").write_bytes((folder / "v.nii").read_bytes()[:-50])
    return folder / "v.nii"


def make_cut(suffix):
    def make(folder):
        path = write_volume(folder / f"v{suffix}", Volume(voxels(), grid()))
        path.write_bytes(path.read_bytes()[:-60])
        return path

    return make


def make_not_a_number(suffix):
    def make(folder):
        array = voxels("float32")
        array[1, 2, 3:5] = np.nan, np.inf
        return write_volume(folder / f"v{suffix}", Volume(array, grid()))

    return make


def make_not_a_number_big_endian(folder):
    array = voxels("float64")
    array[3, 4, 5] = -np.inf
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4), nibabel.Nifti1Header(endianness=">")), folder / "v.nii")
    return folder / "v.nii"


def make_text(folder):
    (folder / "v.nii.gz").write_bytes(gzip.compress(b"no volume at all" * 90))
    return folder / "v.nii.gz"


def make_rgb(folder):
    colours = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    return nifti(folder / "v.nii.gz", colours)


def make_complex(folder):
    return nifti(folder / "v.nii.gz", voxels("float32").astype(np.complex64))


def make_sheared(folder):
    affine = np.eye(4)
    affine[1, 2] = 0.3
    return nifti(folder / "v.nii.gz", voxels(), affine)


def make_series(folder):
    return nifti(folder / "v.nii.gz", np.zeros((3, 4, 5, 2), np.uint8))


def make_picture(folder):
    return nifti(folder / "v.nii.gz", np.zeros((3, 4), np.uint8))


def make_empty_folder(folder):
    (folder / "dicom").mkdir()
    return folder / "dicom"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (make_missing, "does not exist"),
        (make_empty, "0 bytes"),
        (make_pointer, "Git LFS pointer"),
        (make_cut_gzip, "truncated or damaged"),
        (make_damaged_gzip, "truncated or damaged"),
        (make_not_gzip, "is not gzip"),
        (make_cut_nifti, "is truncated"),
        (make_cut_before_compressing, "is truncated"),
        (make_cut_big_endian, "is truncated"),
        (make_cut(".nrrd"), "cannot be read"),
        (make_cut(".mha"), "cannot be read"),
        *[(make_not_a_number(suffix), "received 2 voxels") for suffix in FORMATS],
        (make_not_a_number_big_endian, "received 1 voxels"),
        (make_text, "cannot be read"),
        (make_rgb, "not a scalar volume"),
        (make_complex, "not a scalar volume"),
        (make_sheared, "sheared"),
        (make_series, "not a 3-D volume"),
        (make_picture, "not a 3-D volume"),
        (make_empty_folder, "0 series"),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_line_that_names_it(tmp_path, make, said):
    path = make(tmp_path)
    with pytest.raises(DataError) as refusal:
        read_volume(path)
    line = refusal.value.line()
    assert said in line and path.name in line and "\n" not in line


def test_a_volume_larger_than_one_chunk_is_read_to_its_end(tmp_path):
    array = np.zeros((30, 200, 210), np.float32)  # 5 MB
    array[-1, -1, -1] = np.nan
    bad = Volume(array, Geometry.identity(array.shape))
    with pytest.raises(DataError, match="received 1 voxels"):
        read_volume(write_volume(tmp_path / "v.nii.gz", bad))
    array[-1, -1, -1] = 7
    assert np.array_equal(read_volume(write_volume(tmp_path / "v.nii.gz", bad)).array[0], array)
