"""What ITK's NIfTI reader passes over in silence: bytes that are missing, and voxels that are no number."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.errors import DataError

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
