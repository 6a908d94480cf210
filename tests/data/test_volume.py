"""Volumes survive the round trip exactly, agree with a second reader, and bad files get one clear line."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import DataError

FORMATS = (".nii.gz", ".nii", ".nrrd", ".mha")
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")


def rotation(*degrees: float) -> np.ndarray:
    x, y, z = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


# Columns are the patient directions of the array's axes x, y, z; a determinant of -1 is a left-handed grid.
DIRECTIONS = {
    "along the axes": np.eye(3),
    "as BraTS": np.diag([1.0, 1.0, 1.0]),
    "x flipped": np.diag([-1.0, 1.0, 1.0]),
    "all flipped": np.diag([-1.0, -1.0, -1.0]),
    "permuted": np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]]),
    "oblique": rotation(12, -23, 41),
    "oblique and flipped": rotation(-31, 8, 5) @ np.diag([1.0, -1.0, 1.0]),
}


def grid(direction=DIRECTIONS["along the axes"], size=(4, 5, 6)) -> Geometry:
    return Geometry(size, (2.5, 0.75, 0.5), (-12.5, 34.25, 7.0), tuple(direction.ravel().tolist()))


def voxels(dtype="int16", size=(4, 5, 6)) -> np.ndarray:
    if np.dtype(dtype).kind == "f":
        return np.random.default_rng(0).standard_normal(size).astype(dtype)
    info = np.iinfo(dtype)
    array = np.random.default_rng(0).integers(info.min, info.max, size, dtype=dtype, endpoint=True)
    array.flat[:2] = info.min, info.max
    return array


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
    # NIfTI keeps single precision, the others what was given.
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
def test_what_nibabel_wrote_is_read_at_the_same_places(tmp_path, name):
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
    (folder / "v.nii.gz").write_text(text)
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
        (make_rgb, "no scalar volume"),
        (make_complex, "no scalar volume"),
        (make_sheared, "sheared"),
        (make_series, "no 3-D volume"),
        (make_picture, "no 3-D volume"),
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


@pytest.mark.parametrize("endianness", "<>")
def test_whole_files_of_either_byte_order_are_read(tmp_path, endianness):
    header = nibabel.Nifti1Header(endianness=endianness)
    nibabel.save(nibabel.Nifti1Image(voxels().transpose(2, 1, 0), np.eye(4), header), tmp_path / "v.nii")
    assert np.array_equal(read_volume(tmp_path / "v.nii").array[0], voxels())


@pytest.mark.parametrize("dtype", ["bool", "float16"])
def test_a_dtype_that_no_format_has_is_refused_before_anything_is_written(tmp_path, dtype):
    with pytest.raises(DataError, match=dtype):
        write_volume(tmp_path / "v.nii.gz", Volume(np.zeros((4, 5, 6), dtype), grid()))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd", ".png", ""])
def test_a_suffix_that_cannot_be_written_in_one_step_is_refused(tmp_path, suffix):
    with pytest.raises(DataError):
        write_volume(tmp_path / f"v{suffix}", Volume(voxels(), grid()))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("shape", [(2, 4, 5, 6), (4, 5, 7), (5, 6)])
def test_an_array_that_is_not_its_geometrys_is_refused(tmp_path, shape):
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


@pytest.fixture
def robustness() -> Path:
    root = os.environ.get("COOKBOOK_DATA")
    if not root:
        pytest.skip("COOKBOOK_DATA names no folder of reference data")
    return Path(root) / "robustness"


def test_a_dicom_folder_is_read_in_slice_order(robustness):
    import SimpleITK as sitk

    volume = read_volume(robustness / "dicom_ct-3slice")
    assert volume.array.shape == (1, 3, 512, 512)
    slices = [sitk.ReadImage(str(path)) for path in sorted((robustness / "dicom_ct-3slice").glob("*.dcm"))]
    slices.sort(key=lambda image: image.GetOrigin()[2])
    for plane, image in zip(volume.array[0], slices, strict=True):
        assert np.array_equal(plane, sitk.GetArrayFromImage(image)[0])
    assert volume.geometry.origin_mm_xyz == pytest.approx(slices[0].GetOrigin())
    assert volume.geometry.spacing_mm_zyx[0] == pytest.approx(slices[1].GetOrigin()[2] - slices[0].GetOrigin()[2])


def test_oblique_files_agree_with_nibabel(robustness):
    paths = [p for p in sorted((robustness / "oblique").glob("*.nii.gz")) if "rgb" not in p.name]
    assert len(paths) >= 5
    lps_to_ras = np.diag([-1.0, -1.0, 1.0])
    for path in paths:
        volume, image = read_volume(path), nibabel.load(path)
        np.testing.assert_allclose(volume.array[0], np.asarray(image.dataobj).transpose(2, 1, 0), rtol=1e-6)
        direction = np.array(volume.geometry.direction).reshape(3, 3)
        axes = lps_to_ras @ direction @ np.diag(volume.geometry.spacing_mm_zyx[::-1])
        np.testing.assert_allclose(image.affine[:3, :3], axes, atol=1e-3, err_msg=path.name)


@pytest.mark.parametrize(
    ("name", "said"), [("oblique/rgb_test_file.nii.gz", "scalar"), ("formats/lfs_pointer_liver_0.nii.gz", "LFS")]
)
def test_real_files_that_cannot_be_used_are_refused(robustness, name, said):
    with pytest.raises(DataError, match=said):
        read_volume(robustness / name)
