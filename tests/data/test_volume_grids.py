"""Headers whose parts contradict each other, are rounded or sheared: the stated rule holds, and the log says so."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import header_dtype

from helpers.data.geometry import ROUNDING_COSINE, Geometry, grid_of_axes
from helpers.data.volume import read_volume, write_volume
from helpers.errors import DataError
from tests.data.small_volumes import DIRECTIONS, rotation, voxels

LPS = np.diag([-1.0, -1.0, 1.0])


def write(path: Path, sform=None, qform=None, pixdim=None, codes=(1, 1)) -> Path:
    """A NIfTI file with any forms (4, 4) and any spacing (x, y, z)."""
    image = nibabel.Nifti1Image(voxels().transpose(2, 1, 0), np.eye(4))
    image.set_sform(None if sform is None else sform, 0 if sform is None else codes[0])
    image.set_qform(None if qform is None else qform, 0 if qform is None else codes[1])
    nibabel.save(image, path)
    content = bytearray(path.read_bytes())
    if pixdim is not None:
        struct.pack_into("<3f", content, header_dtype.fields["pixdim"][1] + 4, *pixdim)
    path.write_bytes(content)
    return path


def affine(axes: np.ndarray, origin=(1.0, 2.0, 3.0)) -> np.ndarray:
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = axes, origin
    return whole


def axes_of(geometry: Geometry) -> np.ndarray:
    """The columns in RAS, as nibabel has them."""
    return LPS @ geometry.affine_lps()[:3, :3]


def test_an_sform_that_contradicts_pixdim_counts_and_the_log_says_so(tmp_path, caplog):
    path = write(tmp_path / "v.nii", affine(np.diag([0.8, 0.8, 3.0])), pixdim=(0.8, 0.8, 1.0), codes=(2, 0))
    geometry = read_volume(path).geometry
    np.testing.assert_allclose(geometry.spacing_mm_zyx, (3.0, 0.8, 0.8), rtol=1e-6)
    np.testing.assert_allclose(axes_of(geometry), nibabel.load(path).affine[:3, :3], atol=1e-6)
    assert str(path) in caplog.text and "0.8, 0.8, 1 mm" in caplog.text and "the sform is used" in caplog.text


@pytest.mark.parametrize("code", [1, 2])
def test_with_a_qform_of_that_pixdim_the_sform_counts_too(tmp_path, caplog, code):
    path = write(
        tmp_path / "v.nii",
        affine(np.diag([0.8, 0.8, 3.0])),
        affine(np.diag([1.0, 1.0, 1.0])),
        pixdim=(1.0, 1.0, 1.0),
        codes=(code, 1),
    )
    np.testing.assert_allclose(read_volume(path).geometry.spacing_mm_zyx, (3.0, 0.8, 0.8), rtol=1e-6)
    assert "qform and sform differ" in caplog.text and "contradicts its sform" in caplog.text


def test_a_registration_to_an_atlas_in_the_sform_leaves_the_scanners_grid(tmp_path, caplog):
    atlas = affine(np.array([[1.1, 0.2, 0], [0, 0.9, 0.1], [0, 0, 2.0]]))
    path = write(tmp_path / "v.nii", atlas, affine(np.diag([0.8, 0.8, 3.0])), pixdim=(0.8, 0.8, 3.0), codes=(4, 1))
    np.testing.assert_allclose(axes_of(read_volume(path).geometry), np.diag([0.8, 0.8, 3.0]), atol=1e-6)
    assert "the qform is used" in caplog.text


def test_a_broken_sform_beside_a_qform_leaves_the_qform(tmp_path, caplog):
    whole = affine(np.diag([0.8, 0.8, 3.0]))
    path = write(tmp_path / "v.nii", whole, whole, pixdim=(0.8, 0.8, 3.0))
    content = bytearray(path.read_bytes())
    struct.pack_into("<f", content, header_dtype.fields["srow_y"][1] + 4, np.nan)
    path.write_bytes(content)
    np.testing.assert_allclose(axes_of(read_volume(path).geometry), np.diag([0.8, 0.8, 3.0]), atol=1e-6)
    assert "the qform is used" in caplog.text


def test_consistent_headers_are_read_without_a_word(tmp_path, caplog):
    for name, direction in DIRECTIONS.items():
        form = affine(direction @ np.diag([0.5, 0.75, 2.5]))
        for forms in ((form, None), (None, form), (form, form)):
            path = write(tmp_path / "v.nii", *forms, pixdim=(0.5, 0.75, 2.5))
            np.testing.assert_allclose(axes_of(read_volume(path).geometry), form[:3, :3], atol=1e-5, err_msg=name)
    assert caplog.text == ""


def test_no_forms_give_axes_along_the_patient(tmp_path):
    geometry = read_volume(write(tmp_path / "v.nii", pixdim=(0.5, 0.75, 2.5))).geometry
    assert geometry == Geometry.identity((4, 5, 6), (2.5, 0.75, 0.5))


@pytest.mark.parametrize(("unit", "scale"), [(1, 1e3), (2, 1.0), (3, 1e-3), (0, 1.0)])
def test_metres_and_micrometres_become_millimetres(tmp_path, unit, scale):
    import SimpleITK as sitk

    path = write(tmp_path / "v.nii", affine(np.diag([0.5, 0.75, 2.5])), pixdim=(0.5, 0.75, 2.5))
    content = bytearray(path.read_bytes())
    content[header_dtype.fields["xyzt_units"][1]] = unit
    path.write_bytes(content)
    geometry, image = read_volume(path).geometry, sitk.ReadImage(str(path))
    np.testing.assert_allclose(geometry.spacing_mm_zyx, np.array([2.5, 0.75, 0.5]) * scale)
    np.testing.assert_allclose(geometry.spacing_mm_zyx[::-1], image.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(geometry.origin_mm_xyz, image.GetOrigin(), rtol=1e-6)


def tilted(cosine: float) -> np.ndarray:
    """Axes whose y and z are that far from perpendicular, turned in space."""
    axes = np.eye(3)
    axes[:, 2] = 0, cosine, np.sqrt(1 - cosine**2)
    return rotation(12, -23, 41) @ axes @ np.diag([0.8, 0.8, 3.0])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
@pytest.mark.parametrize("cosine", [5e-4, 2e-3, 0.9 * ROUNDING_COSINE])
def test_rounded_axes_are_made_perpendicular_and_the_log_says_how_far(tmp_path, caplog, suffix, cosine):
    path = write_axes(tmp_path, suffix, tilted(cosine))
    geometry = read_volume(path).geometry
    direction = np.reshape(geometry.direction, (3, 3))
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-12)
    # No voxel is farther from its place than the log says.
    index = np.array([5, 4, 3])
    moved = np.linalg.norm((axes_of(geometry) - tilted(cosine)) @ index)
    said = float(caplog.text.split("no voxel moves by more than ")[1].split()[0])
    assert 0 < moved <= said * 1.06 < 0.1
    assert np.array_equal(read_volume(write_volume(tmp_path / "again.nii.gz", read_volume(path))).array[0], voxels())


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
@pytest.mark.parametrize("cosine", [1.1 * ROUNDING_COSINE, 0.1, 0.29])
def test_sheared_axes_are_refused_with_their_angle(tmp_path, suffix, cosine):
    path = write_axes(tmp_path, suffix, tilted(cosine))
    degrees = np.degrees(np.arcsin(cosine))
    with pytest.raises(DataError, match=rf"sheared.*axes y and z .* {degrees:.2f} degrees"):
        read_volume(path)


def write_axes(folder: Path, suffix: str, axes: np.ndarray) -> Path:
    """Axes (RAS columns) in a header that no library would write."""
    path = folder / f"v{suffix}"
    if "nii" in suffix:
        image = nibabel.Nifti1Image(voxels().transpose(2, 1, 0), affine(axes))
        image.set_qform(None, 0)
        nibabel.save(image, path)
        return path
    lps = LPS @ axes
    if suffix == ".nrrd":
        vectors = " ".join("(" + ",".join(f"{value:.12g}" for value in column) + ")" for column in lps.T)
        text = (
            "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 6 5 4\n"
            f"space directions: {vectors}\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
        )
    else:
        lengths = np.linalg.norm(lps, axis=0)
        text = (
            "NDims = 3\nDimSize = 6 5 4\nElementType = MET_SHORT\n"
            f"ElementSpacing = {' '.join(map(str, lengths))}\n"
            f"TransformMatrix = {' '.join(map(str, (lps / lengths).T.ravel()))}\nElementDataFile = LOCAL\n"
        )
    path.write_bytes(text.encode() + voxels().tobytes())
    return path


@pytest.mark.parametrize(
    ("axes", "origin", "said"),
    [
        (np.diag([1.0, np.nan, 1.0]), (0, 0, 0), "not finite"),
        (np.diag([1.0, np.inf, 1.0]), (0, 0, 0), "not finite"),
        (np.diag([1.0, 0.0, 1.0]), (0, 0, 0), "axis y of length 0"),
        (np.diag([1.0, 1e-9, 1.0]), (0, 0, 0), "axis y of length 1e-09"),
        (np.diag([1.0, 1e30, 1.0]), (0, 0, 0), "step of 1e\\+30 mm"),
        (np.array([[1.0, 1.0, 0], [0, 0, 0], [0, 0, 1.0]]), (0, 0, 0), "in one plane"),
        (np.eye(3), (0, np.nan, 0), "origin"),
        (np.eye(3), (0, 1e300, 0), "origin"),
    ],
)
def test_each_kind_of_unusable_axes_has_its_own_words(axes, origin, said):
    with pytest.raises(DataError, match=said):
        grid_of_axes("v.nii", "sform", (2, 3, 4), axes, origin)
