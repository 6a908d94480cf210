"""Reads and writes volumes through SimpleITK: NIfTI, NRRD, MetaImage and folders of DICOM files.

Files are checked before and after ITK reads them: ITK leaves missing voxels uninitialised, turns NaN and infinity
into 0, and stretches a DICOM series over missing slices.
"""

from __future__ import annotations

import gzip
import math
import os
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from helpers.data.geometry import Geometry
from helpers.errors import DataError, last_line
from helpers.run.digest import LFS_REMEDY, is_lfs_pointer

if TYPE_CHECKING:
    import SimpleITK as sitk

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_TWO_FILES = (".nhdr", ".mhd")  # a header and its second file cannot be replaced atomically
_POSITION = "0020|0032"  # DICOM's Image Position (Patient)
_CHUNK_BYTES = 1 << 22


@dataclass(frozen=True)
class Volume:
    """Voxels (C, Z, Y, X), C-contiguous, in the stored dtype, and their grid."""

    array: np.ndarray
    geometry: Geometry


def read_volume(path: str | os.PathLike) -> Volume:
    """Reads one volume or one DICOM series.

    Args:
        path: a file with one of `VOLUME_SUFFIXES`, or a folder with the DICOM files of one series.

    Returns:
        The voxels as (1, Z, Y, X) in the stored dtype, after the header's slope and intercept.

    Raises:
        DataError: the file is missing, empty, a Git LFS pointer, truncated or not a scalar volume, has voxels that
            are NaN or infinite, or a grid that SimpleITK cannot represent (a sheared one).
    """
    import SimpleITK as sitk

    path = Path(path)
    if path.is_dir():
        image = _read_dicom_series(path)
    else:
        check_volume_file(path)
        image = _read_file(path)
    image = _drop_single_axes(image, path)
    if image.GetNumberOfComponentsPerPixel() != 1 or "complex" in image.GetPixelIDTypeAsString():
        raise DataError(
            f"{path.name} is not a scalar volume",
            received=image.GetPixelIDTypeAsString(),
            expected="one real number per voxel",
            remedy="Convert it to one volume per channel.",
        )
    array = np.ascontiguousarray(sitk.GetArrayFromImage(image))[None]
    if array.dtype.kind == "f":
        _check_finite(path, int(np.count_nonzero(~np.isfinite(array))))
    return Volume(array, _geometry_of(image))


def write_volume(path: str | os.PathLike, volume: Volume) -> Path:
    """Writes one volume atomically, with its geometry, in the format of the suffix.

    Args:
        path: the file to write, in an existing folder; not a header with its voxels in a second file (.nhdr, .mhd).
        volume: voxels (1, Z, Y, X) or (Z, Y, X).

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
    try:
        image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    except TypeError:
        expected = "8 to 64 bit integers, float32 or float64"
        raise DataError(f"cannot write {path.name}", received=str(array.dtype), expected=expected) from None
    image.SetSpacing(tuple(float(s) for s in volume.geometry.spacing_mm_zyx[::-1]))
    image.SetOrigin(tuple(float(o) for o in volume.geometry.origin_mm_xyz))
    image.SetDirection(tuple(float(d) for d in volume.geometry.direction))
    _write_atomically(image, path, suffix)
    return path


def _write_atomically(image: sitk.Image, path: Path, suffix: str) -> None:
    """Writes to a temporary file and renames it, so that a full disk or a killed process leaves no partial file."""
    import SimpleITK as sitk

    handle, temporary = tempfile.mkstemp(prefix=".part-", suffix=suffix, dir=path.parent)
    os.close(handle)
    try:
        sitk.WriteImage(image, temporary, useCompression=True)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except RuntimeError as error:
        raise DataError(f"cannot write {path}", received=last_line(error), remedy="Check the disk.") from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def check_volume_file(path: Path) -> None:
    """Checks that a file can contain a volume, before any library opens it.

    Raises:
        DataError: the file is missing, empty, a Git LFS pointer or damaged.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist", remedy="Check data_root and the file names of the case.")
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise DataError(f"{path} is empty", received="0 bytes", expected="a volume", remedy="Copy it again.")
    with open(path, "rb") as stream:
        head = stream.read(64)
    if is_lfs_pointer(head):
        raise DataError(
            f"{path} is a Git LFS pointer, not the volume",
            received=f"{size_bytes} bytes of text",
            remedy=LFS_REMEDY,
        )
    if path.name.endswith(".gz") and not head.startswith(b"\x1f\x8b"):
        raise DataError(f"{path} is not gzip", received=f"first bytes {head[:4].hex()}", expected="1f8b")
    if path.name.endswith((".nii", ".nii.gz")):
        check_nifti_file(path)


def check_nifti_file(path: Path) -> None:
    """Checks that a `.nii` or `.nii.gz` file is intact by reading it to its end.

    Raises:
        DataError: the gzip stream is truncated or damaged, voxels are missing or not finite, or the file is NIfTI-2.
    """
    try:
        with gzip.open(path) if path.name.endswith(".gz") else open(path, "rb") as opened:
            stream = cast(BinaryIO, opened)
            bad = _count_non_finite(path, stream, _read_layout(path, stream))
            while stream.read(_CHUNK_BYTES):  # to gzip's checksum at the end: damage is reported before NaN
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path} is truncated or damaged",
            received=str(error),
            expected="a complete gzip stream",
            remedy="Copy or download it again.",
        ) from None
    _check_finite(path, bad)


@dataclass(frozen=True)
class _Layout:
    """The position of the voxels in a NIfTI file, and their dtype if it is a real floating-point type."""

    first_byte: int
    n_bytes: int
    float_dtype: np.dtype | None


def _read_layout(path: Path, stream: BinaryIO) -> _Layout | None:
    """Reads a NIfTI-1 header in either byte order; returns None for other formats, which ITK checks.

    Raises:
        DataError: the file is NIfTI-2.
    """
    from nibabel.analyze import AnalyzeHeader
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header
    from nibabel.spatialimages import HeaderDataError

    block = stream.read(Nifti2Header.sizeof_hdr)
    if Nifti2Header.may_contain_header(block):
        raise DataError(
            f"{path} is NIfTI-2, which ITK does not read",
            received=f"a header of {Nifti2Header.sizeof_hdr} bytes",
            expected="NIfTI-1",
            remedy="Resave it: nibabel.Nifti1Image(image.dataobj, image.affine).",
        )
    if not AnalyzeHeader.may_contain_header(block):
        return None
    header = Nifti1Header(block[: Nifti1Header.sizeof_hdr], check=False)
    try:
        dtype, shape, first = header.get_data_dtype(), header.get_data_shape(), header.get_data_offset()
    except (HeaderDataError, ValueError, OverflowError):
        return None
    is_float = dtype.kind == "f"
    first_byte = max(first, Nifti1Header.sizeof_hdr)
    return _Layout(first_byte, math.prod(shape) * dtype.itemsize, dtype if is_float else None)


def _count_non_finite(path: Path, stream: BinaryIO, layout: _Layout | None) -> int:
    """Reads every voxel that the header declares and counts those that are NaN or infinite."""
    if layout is None:
        return 0
    stream.seek(layout.first_byte)
    read_bytes = bad = 0
    while chunk := stream.read(min(_CHUNK_BYTES, layout.n_bytes - read_bytes)):
        read_bytes += len(chunk)
        if layout.float_dtype is not None:
            values = np.frombuffer(chunk, layout.float_dtype, len(chunk) // layout.float_dtype.itemsize)
            bad += int(np.count_nonzero(~np.isfinite(values)))
    if read_bytes < layout.n_bytes:
        raise DataError(
            f"{path} is truncated",
            received=f"{read_bytes} bytes of voxels",
            expected=f"{layout.n_bytes} by its header",
            remedy="Copy or download it again.",
        )
    return bad


def _check_finite(path: Path, count: int) -> None:
    if count:
        raise DataError(f"{path} has voxels that are NaN or infinite", received=f"{count} voxels", expected="none")


def _read_file(path: Path) -> sitk.Image:
    import SimpleITK as sitk

    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        cause = last_line(error)
        remedy = "Resave it as NIfTI with another tool."
        if "orthonormal" in str(error):
            remedy = "Its grid is sheared (by a tilted gantry): resample it to an orthogonal grid first."
        raise DataError(f"{path} cannot be read", received=cause, remedy=remedy) from None


def _read_dicom_series(folder: Path) -> sitk.Image:
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise DataError(
            f"{folder} does not contain exactly one DICOM series",
            received=f"{len(series)} series",
            expected="1",
            remedy="Name a folder with the files of one series.",
        )
    names = reader.GetGDCMSeriesFileNames(str(folder), series[0])
    reader.SetFileNames(names)
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise DataError(f"{folder} cannot be read as DICOM", received=last_line(error)) from None
    _check_slice_positions(folder, reader, image, len(names))
    return image


def _check_slice_positions(folder: Path, reader: sitk.ImageSeriesReader, image: sitk.Image, count: int) -> None:
    # ITK only prints a warning and stretches the remaining slices over the gap.
    if not all(reader.HasMetaDataKey(index, _POSITION) for index in range(count)):
        return
    positions = [
        [float(value) for value in reader.GetMetaData(index, _POSITION).split("\\")] for index in range(count)
    ]
    heights = np.sort(np.array(positions) @ np.array(image.GetDirection()).reshape(3, 3)[:, 2])
    steps = np.diff(heights)
    if len(steps) and steps.max() > 1.5 * np.median(steps):
        raise DataError(
            f"{folder} lacks slices",
            received=f"adjacent slices {steps.max():.3g} mm apart",
            expected=f"{np.median(steps):.3g} mm between all {count} slices",
            remedy="Copy the complete series again.",
        )


def _drop_single_axes(image: sitk.Image, path: Path) -> sitk.Image:
    # Some tools write a 3-D volume with a trailing axis of size 1; 2-D images are not volumes.
    import SimpleITK as sitk

    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        return sitk.Extract(image, [*image.GetSize()[:3], 0], [0, 0, 0, 0])
    if image.GetDimension() != 3:
        raise DataError(
            f"{path.name} is not a 3-D volume",
            received=f"{image.GetDimension()} axes of size {image.GetSize()}",
            expected="3 axes",
            remedy="Split it into one volume per channel or time point.",
        )
    return image


def _geometry_of(image: sitk.Image) -> Geometry:
    return Geometry(
        size_zyx=tuple(image.GetSize()[::-1]),
        spacing_mm_zyx=tuple(image.GetSpacing()[::-1]),
        origin_mm_xyz=tuple(image.GetOrigin()),
        direction=tuple(image.GetDirection()),
    )


def _suffix_of(path: Path) -> str:
    for suffix in VOLUME_SUFFIXES:
        if path.name.endswith(suffix):
            return suffix
    raise DataError(f"no volume format has the suffix of {path.name}", expected=", ".join(VOLUME_SUFFIXES))
