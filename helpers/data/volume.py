"""Reads and writes volumes: NIfTI, NRRD, MetaImage and folders of DICOM files.

Files are read without native code (`helpers.data.formats`) and written by ITK. ITK leaves missing voxels
uninitialised, turns NaN and infinity in a header into 0 or 1, and stretches a DICOM series over missing slices.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from helpers.data.formats.dicom import read_dicom_series
from helpers.data.formats.metaimage import read_metaimage
from helpers.data.formats.nifti import read_nifti
from helpers.data.formats.nrrd import read_nrrd
from helpers.data.geometry import Geometry, check_perpendicular, is_sheared
from helpers.data.shear import Interpolation, perpendicular_grid, resample
from helpers.errors import DataError, last_line
from helpers.run.digest import LFS_REMEDY, is_lfs_pointer
from helpers.run.said import say_once

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_TWO_FILES = (".nhdr", ".mhd")  # a header and its second file cannot be replaced atomically
_READERS = {
    **dict.fromkeys((".nii.gz", ".nii", ".hdr", ".img"), read_nifti),
    **dict.fromkeys((".nrrd", ".nhdr"), read_nrrd),
    **dict.fromkeys((".mha", ".mhd"), read_metaimage),
}


@dataclass(frozen=True)
class Volume:
    """Voxels (C, Z, Y, X), C-contiguous, in the stored dtype, and their grid."""

    array: np.ndarray
    geometry: Geometry


def read_volume(path: str | os.PathLike, *, series: str | None = None, shear: Interpolation | None = None) -> Volume:
    """Reads one volume or one DICOM series.

    Args:
        path: a file with one of `VOLUME_SUFFIXES`, in any case, a NIfTI pair, or a folder with DICOM files.
        series: UID or description of the series to read, if the folder has several.
        shear: how a sheared volume is resampled to perpendicular axes; None: it is refused.

    Returns:
        The voxels as (1, Z, Y, X) in the stored dtype, after the header's slope and intercept.

    Raises:
        DataError: the file is missing, empty, a Git LFS pointer, truncated, damaged or not a scalar volume; a field
            of its header is unusable; voxels are NaN or infinite; or the slices of a series do not form a grid.
        ResourceError: the voxels do not fit into memory.
    """
    path = Path(path)
    if path.is_dir():
        array, geometry = read_dicom_series(path, series)
        volume = Volume(array[None], geometry)
    else:
        check_volume_file(path)
        volume = _read_file(path)
    if volume.array.dtype.kind == "f":
        _check_finite(path, int(np.count_nonzero(~np.isfinite(volume.array))))
    if shear is None or not is_sheared(volume.geometry):
        check_perpendicular(str(path), volume.geometry)
        return volume
    straight = perpendicular_grid(volume.geometry)
    say_once(logging.WARNING, "%s: sheared; resampled (%s) to perpendicular axes, and its mask back", path, shear)
    return Volume(resample(volume.array[0], volume.geometry, straight, shear)[None], straight)


def write_volume(path: str | os.PathLike, volume: Volume) -> Path:
    """Writes one volume atomically, with its geometry, in the format of the suffix.

    Args:
        path: the file to write, in an existing folder; not a header with its voxels in a second file (.nhdr, .mhd).
        volume: voxels (1, Z, Y, X) or (Z, Y, X); labels, if its file was sheared, which return to the sheared grid.

    Raises:
        DataError: the array has several channels, a shape that differs from its geometry's, or a dtype that the
            formats do not support (bool, float16).
    """
    import SimpleITK as sitk

    path = Path(path)
    array = volume.array[0] if volume.array.ndim == 4 and volume.array.shape[0] == 1 else volume.array
    if array.shape != tuple(volume.geometry.size_zyx):
        raise DataError(
            f"cannot write {path.name}", received=array.shape, expected=f"{volume.geometry.size_zyx} (z, y, x)"
        )
    suffix = _suffix_of(path)
    if suffix in _TWO_FILES:
        raise DataError(
            f"cannot write {path.name}", received=suffix, expected="a format of one file, such as .nii.gz"
        )
    geometry = volume.geometry
    if geometry.sheared is not None:
        array, geometry = resample(array, geometry, geometry.sheared, "nearest"), geometry.sheared
    if suffix in (".nii", ".nii.gz") and is_sheared(geometry):
        _write_atomically(partial(_save_sheared_nifti, array, geometry), path, suffix)
        return path
    try:
        image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    except TypeError:
        expected = "8 to 64 bit integers, float32 or float64"
        raise DataError(f"cannot write {path.name}", received=str(array.dtype), expected=expected) from None
    image.SetSpacing(tuple(float(s) for s in geometry.spacing_mm_zyx[::-1]))
    image.SetOrigin(tuple(float(o) for o in geometry.origin_mm_xyz))
    image.SetDirection(tuple(float(d) for d in geometry.direction))
    _write_atomically(partial(sitk.WriteImage, image, useCompression=True), path, suffix)
    return path


def _save_sheared_nifti(array: np.ndarray, geometry: Geometry, path: str) -> None:
    """Writes the axes as an sform alone; ITK would make them perpendicular without a word."""
    import nibabel

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine_lps()
    image = nibabel.Nifti1Image(array.transpose(2, 1, 0), affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.set_qform(None, 0)
    image.set_sform(affine, 1)
    nibabel.save(image, path)


def _write_atomically(save: Callable[[str], None], path: Path, suffix: str) -> None:
    """Writes to a temporary file and renames it, so that a full disk or a killed process leaves no partial file."""
    handle, temporary = tempfile.mkstemp(prefix=".part-", suffix=suffix, dir=path.parent)
    os.close(handle)
    try:
        save(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except (RuntimeError, OSError) as error:
        raise DataError(f"cannot write {path}", received=last_line(error), remedy="Check the disk.") from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def check_volume_file(path: Path) -> None:
    """Checks that a file can contain a volume, before it is opened as one.

    Raises:
        DataError: the file is missing, no regular file, unreadable, empty or a Git LFS pointer.
    """
    try:
        if not path.exists():
            raise DataError(f"{path} does not exist", remedy="Check data_root and the file names of the case.")
        if not path.is_file():
            raise DataError(f"{path} is not a file", expected="a volume", remedy="Check the file names of the case.")
        size_bytes = path.stat().st_size
        with open(path, "rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise DataError(f"{path} cannot be opened", received=error.strerror or str(error)) from None
    if size_bytes == 0:
        raise DataError(f"{path} is empty", received="0 bytes", expected="a volume", remedy="Copy it again.")
    if is_lfs_pointer(head):
        raise DataError(
            f"{path} is a Git LFS pointer, not the volume",
            received=f"{size_bytes} bytes of text",
            remedy=LFS_REMEDY,
        )


def _check_finite(path: Path, count: int) -> None:
    if count:
        raise DataError(f"{path} has voxels that are NaN or infinite", received=f"{count} voxels", expected="none")


def _read_file(path: Path) -> Volume:
    array, layout = _READERS[_suffix_of(path, _READERS)](path)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if layout.scale is not None:
        array = _scaled(array, *layout.scale)
    return Volume(array[None], layout.geometry)


def _scaled(array: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Applies a slope and an intercept in double precision, plane by plane; the result has ITK's type."""
    scaled = np.empty(array.shape, array.dtype if array.dtype.kind == "f" else np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused as infinite
        for plane, stored in zip(scaled, array, strict=True):
            plane[...] = stored.astype(scaled.dtype).astype(np.float64) * slope + intercept
    return scaled


def _suffix_of(path: Path, suffixes: Iterable[str] = VOLUME_SUFFIXES) -> str:
    for suffix in suffixes:
        if path.name.lower().endswith(suffix):
            return suffix
    raise DataError(f"no volume format has the suffix of {path.name}", expected=", ".join(VOLUME_SUFFIXES))
