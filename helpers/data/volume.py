"""The one reader and the one writer of volumes: NIfTI, NRRD, MetaImage and DICOM folders, through SimpleITK."""

from __future__ import annotations

import gzip
import math
import os
import struct
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.data.geometry import Geometry
from helpers.errors import DataError
from helpers.run.digest import REMEDY, is_lfs_pointer

_HEADER_BYTES = 348
_HEADER_BYTES_OF_2 = 540
_CHUNK_BYTES = 1 << 22
_FLOATS = {16: "f4", 64: "f8"}


@dataclass(frozen=True)
class _Layout:
    first_byte: int
    voxel_bytes: int
    float_type: str | None


def refuse_damaged_nifti(path: Path) -> None:
    """Reads a `.nii` or `.nii.gz` once, to its end.

    ITK fills missing voxels with whatever was in memory, and turns NaN and infinity into 0.

    Raises:
        DataError: the gzip stream is truncated or damaged, voxels are missing, some are not finite, or it is NIfTI-2.
    """
    try:
        with gzip.open(path) if path.name.endswith(".gz") else open(path, "rb") as stream:
            header = stream.read(_HEADER_BYTES)
            _refuse_nifti_2(path, header)
            layout = _layout_of(header)
            bad = 0 if layout is None else _count_non_finite(path, stream, layout)
            while stream.read(_CHUNK_BYTES):  # gzip's checksum comes last, and damage explains NaN
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path} is truncated or damaged",
            received=str(error),
            expected="a whole gzip stream",
            remedy="Copy or download it again.",
        ) from None
    refuse_non_finite(path, bad)


def refuse_non_finite(path: Path, count: int) -> None:
    """Raises a DataError where `count` voxels of a file are NaN or infinite."""
    if count:
        raise DataError(f"{path} has voxels that are NaN or infinite", received=f"{count} voxels", expected="none")


def _refuse_nifti_2(path: Path, header: bytes) -> None:
    if header[:4] in (struct.pack("<i", _HEADER_BYTES_OF_2), struct.pack(">i", _HEADER_BYTES_OF_2)):
        raise DataError(
            f"{path} is NIfTI-2, which ITK does not read",
            received=f"a header of {_HEADER_BYTES_OF_2} bytes",
            expected="NIfTI-1",
            remedy="Resave it: nibabel.Nifti1Image(image.dataobj, image.affine).",
        )


def _count_non_finite(path: Path, stream, layout: _Layout) -> int:
    stream.seek(layout.first_byte)
    read_bytes = bad = 0
    while chunk := stream.read(min(_CHUNK_BYTES, layout.voxel_bytes - read_bytes)):
        read_bytes += len(chunk)
        if layout.float_type:
            values = np.frombuffer(chunk, layout.float_type, len(chunk) // np.dtype(layout.float_type).itemsize)
            bad += int(np.count_nonzero(~np.isfinite(values)))
    if read_bytes < layout.voxel_bytes:
        raise DataError(
            f"{path} is truncated",
            received=f"{read_bytes} bytes of voxels",
            expected=f"{layout.voxel_bytes} by its header",
            remedy="Copy or download it again.",
        )
    return bad


def _layout_of(header: bytes) -> _Layout | None:
    """Where the voxels lie, of a NIfTI-1 header in either byte order; None for anything else."""
    for order in "<>":
        if len(header) == _HEADER_BYTES and header[:4] == struct.pack(f"{order}i", _HEADER_BYTES):
            axes = struct.unpack_from(f"{order}8h", header, 40)
            kind, bits = struct.unpack_from(f"{order}2h", header, 70)
            (first,) = struct.unpack_from(f"{order}f", header, 108)
            number = _FLOATS.get(kind)
            voxels = math.prod(axes[1 : axes[0] + 1])
            return _Layout(max(int(first), _HEADER_BYTES), voxels * bits // 8, number and order + number)
    return None


VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_POSITION = "0020|0032"  # DICOM's Image Position (Patient)
_TWO_FILES = (".nhdr", ".mhd")  # a header that names a second file cannot be replaced in one step


@dataclass(frozen=True)
class Volume:
    """Voxels (C, Z, Y, X), C-contiguous, in the stored dtype, and the grid they lie on."""

    array: np.ndarray
    geometry: Geometry


def read_volume(path: str | os.PathLike) -> Volume:
    """Reads one volume or one DICOM series.

    Args:
        path: a file of one of `VOLUME_SUFFIXES`, or a folder with the DICOM files of one series.

    Returns:
        The voxels as (1, Z, Y, X) in the stored dtype, after the header's slope and intercept.

    Raises:
        DataError: the file is missing, empty, a Git LFS pointer, truncated, of a type that is no scalar
            volume, has voxels that are NaN or infinite, or a grid that SimpleITK cannot represent (a sheared one).
    """
    path = Path(path)
    if path.is_dir():
        image = _read_dicom_series(path)
    else:
        refuse_unreadable(path)
        image = _read_file(path)
    image = _drop_single_axes(image, path)
    if image.GetNumberOfComponentsPerPixel() != 1 or "complex" in image.GetPixelIDTypeAsString():
        raise DataError(
            f"{path.name} is no scalar volume",
            received=image.GetPixelIDTypeAsString(),
            expected="one real number a voxel",
            remedy="Convert it to one volume a channel.",
        )
    import SimpleITK as sitk

    array = np.ascontiguousarray(sitk.GetArrayFromImage(image))[None]
    if array.dtype.kind == "f":
        refuse_non_finite(path, int(np.count_nonzero(~np.isfinite(array))))
    return Volume(array, _geometry_of(image))


def write_volume(path: str | os.PathLike, volume: Volume) -> Path:
    """Writes one volume atomically; the suffix picks the format, geometry goes with it.

    Args:
        path: where to, not a header with its voxels in a second file (.nhdr, .mhd); the folder must exist.
        volume: voxels (1, Z, Y, X) or (Z, Y, X).

    Raises:
        DataError: the array has more than one channel, another size than its geometry or a dtype that the formats
            do not have (bool, float16).
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
        raise DataError(f"cannot write {path.name}", received=suffix, expected="a format of one file, as .nii.gz is")
    try:
        image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    except TypeError:
        expected = "8 to 64 bit integers, float32 or float64"
        raise DataError(f"cannot write {path.name}", received=str(array.dtype), expected=expected) from None
    image.SetSpacing(tuple(float(s) for s in volume.geometry.spacing_mm_zyx[::-1]))
    image.SetOrigin(tuple(float(o) for o in volume.geometry.origin_mm_xyz))
    image.SetDirection(tuple(float(d) for d in volume.geometry.direction))
    _write_whole(image, path, suffix)
    return path


def _write_whole(image, path: Path, suffix: str) -> None:
    """Written beside the target and renamed, so that a full disk or a kill leaves no half mask."""
    import SimpleITK as sitk

    handle, temporary = tempfile.mkstemp(prefix=".part-", suffix=suffix, dir=path.parent)
    os.close(handle)
    try:
        sitk.WriteImage(image, temporary, useCompression=True)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except RuntimeError as error:
        raise DataError(f"cannot write {path}", received=_last_line(error), remedy="Check the disk.") from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def refuse_unreadable(path: Path) -> None:
    """Raises a DataError that says why a file cannot hold a volume, before any library is asked."""
    if not path.exists():
        raise DataError(f"{path} does not exist", remedy="Check data_root and the case's file names.")
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise DataError(f"{path} is empty", received="0 bytes", expected="a volume", remedy="Copy it again.")
    with open(path, "rb") as stream:
        head = stream.read(64)
    if is_lfs_pointer(head):
        raise DataError(
            f"{path} is a Git LFS pointer, not the volume",
            received=f"{size_bytes} bytes of text",
            remedy=REMEDY,
        )
    if path.name.endswith(".gz") and not head.startswith(b"\x1f\x8b"):
        raise DataError(f"{path} is not gzip", received=f"first bytes {head[:4].hex()}", expected="1f8b")
    if path.name.endswith((".nii", ".nii.gz")):
        refuse_damaged_nifti(path)


def _read_file(path: Path):
    import SimpleITK as sitk

    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        cause = _last_line(error)
        remedy = "Resave it as NIfTI with another tool."
        if "orthonormal" in str(error):
            remedy = "Its grid is sheared (a tilted gantry): resample it to a straight grid first."
        raise DataError(f"{path} cannot be read", received=cause, remedy=remedy) from None


def _read_dicom_series(folder: Path):
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise DataError(
            f"{folder} does not hold one DICOM series",
            received=f"{len(series)} series",
            expected="1",
            remedy="Point at a folder with the files of one series.",
        )
    names = reader.GetGDCMSeriesFileNames(str(folder), series[0])
    reader.SetFileNames(names)
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise DataError(f"{folder} cannot be read as DICOM", received=_last_line(error)) from None
    _refuse_missing_slices(folder, reader, image, len(names))
    return image


def _refuse_missing_slices(folder: Path, reader, image, count: int) -> None:
    # ITK stretches the slices that are there over the gap, and says so on the console only.
    if not all(reader.HasMetaDataKey(index, _POSITION) for index in range(count)):
        return
    places = [[float(value) for value in reader.GetMetaData(index, _POSITION).split("\\")] for index in range(count)]
    heights = np.sort(np.array(places) @ np.array(image.GetDirection()).reshape(3, 3)[:, 2])
    steps = np.diff(heights)
    if len(steps) and steps.max() > 1.5 * np.median(steps):
        raise DataError(
            f"{folder} lacks slices",
            received=f"neighbours {steps.max():.3g} mm apart",
            expected=f"{np.median(steps):.3g} mm between all of the {count} slices",
            remedy="Copy the whole series again.",
        )


def _drop_single_axes(image, path: Path):
    # Some tools write a 3-D volume with a trailing axis of size 1; two-dimensional images have no place here.
    import SimpleITK as sitk

    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        return sitk.Extract(image, [*image.GetSize()[:3], 0], [0, 0, 0, 0])
    if image.GetDimension() != 3:
        raise DataError(
            f"{path.name} is no 3-D volume",
            received=f"{image.GetDimension()} axes of size {image.GetSize()}",
            expected="3 axes",
            remedy="Split it into one volume a channel or time point.",
        )
    return image


def _geometry_of(image) -> Geometry:
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


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
