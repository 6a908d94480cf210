"""Reads NIfTI-1 and NIfTI-2, in one file or as a pair, plain or compressed, in either byte order.

The header is read by its own standard (nifti1.h, nifti2.h), and the grid chosen as in ITK, on which nnU-Net stands,
except where ITK mixes the spacing of `pixdim` with the axes of an sform that contradicts it: there the sform counts,
as in nibabel, and that is logged.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from helpers.data.formats.header import bad_header, drop_axes_of_one, not_scalar, what_it_is
from helpers.data.formats.stored import Encoding, Layout, Stream
from helpers.data.geometry import EXACT_COSINE, Geometry, grid_of_axes, largest_cosine
from helpers.errors import DataError
from helpers.run.said import say_once

_GZIP = b"\x1f\x8b"
_SAME_SPACING = 1e-3  # relative: single precision, and axes that were rounded
_SAME_FORM = 1e-4
_REGISTERED_SPACES = (3, 4)  # codes of Talairach and MNI: no statement about the scanner
_MM_OF_UNIT = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}  # unknown, metre, millimetre, micrometre
_FARTHEST_VOXELS = 1 << 31
_SCALARS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_VECTORS = {32: "complex64", 128: "RGB", 1792: "complex128", 2048: "complex256", 2304: "RGBA"}
_RESAVE = "Resave it: nibabel.save(nibabel.Nifti1Image(image.dataobj, image.affine), NEW)."
_TO_LPS = np.array([-1.0, -1.0, 1.0])


def read_nifti(path: Path) -> tuple[np.ndarray, Layout]:
    """The voxels (Z, Y, X) as stored, and their layout.

    Args:
        path: `.nii`, `.nii.gz`, or the `.hdr` or `.img` of a pair.

    Raises:
        DataError: a field of the header is unusable, or the file is truncated, damaged or not NIfTI.
    """
    is_pair = path.suffix.lower() in (".hdr", ".img")
    header_path, voxel_path = _pair(path) if is_pair else (path, path)
    with open(header_path, "rb") as file:
        stream = Stream(header_path, file, _encoding(header_path, file))
        fields = _read_fields(header_path, stream, is_pair)
        layout = _layout(header_path, fields)
        lowest = 0 if is_pair else fields.itemsize + 4
        offset = _offset(header_path, fields, lowest)
        if not is_pair:
            stream.skip(offset - fields.itemsize)
            return stream.read_voxels(layout), layout
    with open(voxel_path, "rb") as file:
        stream = Stream(voxel_path, file, _encoding(voxel_path, file))
        stream.skip(offset)
        return stream.read_voxels(layout), layout


def _pair(path: Path) -> tuple[Path, Path]:
    is_upper = path.suffix.isupper()
    pair = tuple(path.with_suffix(suffix.upper() if is_upper else suffix) for suffix in (".hdr", ".img"))
    for part in pair:
        if not part.is_file():
            raise DataError(f"{path} is half of a pair", received=f"no {part.name}", expected="both files")
    return pair[0], pair[1]


def _encoding(path: Path, file: BinaryIO) -> Encoding:
    head = file.read(len(_GZIP))
    file.seek(0)
    is_gzip = head == _GZIP
    if path.name.lower().endswith(".gz") and not is_gzip:
        raise DataError(
            f"{path} is not gzip, although its name says so",
            received=f"first bytes {head.hex()}",
            expected=_GZIP.hex(),
            remedy="If it is a plain volume, rename it without .gz; otherwise get it again.",
        )
    if is_gzip and not path.name.lower().endswith(".gz"):
        raise DataError(
            f"{path} is gzip, although its name does not say so",
            received=f"first bytes {head.hex()}",
            expected="a plain volume",
            remedy=f"Rename it to {path.name}.gz.",
        )
    return "deflate" if is_gzip else "raw"


def _read_fields(path: Path, stream: Stream, is_pair: bool) -> np.void:
    """The fields of a header, of either version and byte order."""
    from nibabel.nifti1 import header_dtype as version_1
    from nibabel.nifti2 import header_dtype as version_2

    block = stream.read(4)
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for version, dtype in ((1, version_1), (2, version_2)):
        for order in orders:
            if block == np.array(dtype.itemsize, f"{order}i4").tobytes():
                block += stream.read(dtype.itemsize - len(block))
                if len(block) < dtype.itemsize:
                    raise bad_header(path, "header", f"{len(block)} bytes", f"{dtype.itemsize} bytes")
                fields = np.frombuffer(block, dtype.newbyteorder(order))[0]
                _check_magic(path, fields, version, is_pair)
                return fields
    raise DataError(
        f"{path} cannot be read as NIfTI",
        received=what_it_is(block + stream.read(128)),
        expected="a header of 348 (NIfTI-1) or 540 (NIfTI-2) bytes",
        remedy="Check the name of the file, or get it again.",
    )


def _check_magic(path: Path, fields: np.void, version: int, is_pair: bool) -> None:
    magic, expected = bytes(fields["magic"]), f"n{'i' if is_pair else '+'}{version}".encode()
    if magic != expected:
        remedy = None if magic else "Analyze 7.5 does not say where its axes point: get the images as NIfTI."
        raise bad_header(path, "magic", repr(magic), repr(expected), remedy)
    line_ends = b"" if version == 1 else bytes(fields["eol_check"].tobytes())
    if line_ends not in (b"", b"\r\n\x1a\n", bytes(4)):
        raise bad_header(path, "eol_check", line_ends.hex(), "0d0a1a0a: it was copied as text")


def _layout(path: Path, fields: np.void) -> Layout:
    size_zyx = _size(path, fields)
    dtype = _dtype(path, fields)
    return Layout(size_zyx, dtype, _geometry(path, fields, size_zyx), _scale(path, fields))


def _size(path: Path, fields: np.void) -> tuple[int, int, int]:
    dim = [int(value) for value in fields["dim"]]
    if not 1 <= dim[0] <= 7:
        raise bad_header(path, "dim[0]", dim[0], "1 to 7 axes")
    for axis in range(1, dim[0] + 1):
        if not 1 <= dim[axis] <= _FARTHEST_VOXELS:
            raise bad_header(path, f"dim[{axis}]", dim[axis], "a number of voxels")
    return drop_axes_of_one(path, dim[1 : dim[0] + 1])


def _dtype(path: Path, fields: np.void) -> np.dtype:
    code, bits = int(fields["datatype"]), int(fields["bitpix"])
    if code in _VECTORS:
        raise not_scalar(path, _VECTORS[code])
    if code not in _SCALARS:
        raise bad_header(path, "datatype", code, "a type of NIfTI with 8 to 64 bits")
    is_swapped = not fields.dtype["datatype"].isnative
    dtype = np.dtype(_SCALARS[code])
    dtype = dtype.newbyteorder("S") if is_swapped else dtype
    if bits != 8 * dtype.itemsize:
        raise bad_header(path, "bitpix", bits, f"{8 * dtype.itemsize} for datatype {code}")
    return dtype


def _offset(path: Path, fields: np.void, lowest: int) -> int:
    offset = float(fields["vox_offset"])
    if not (math.isfinite(offset) and offset.is_integer() and lowest <= offset <= _FARTHEST_VOXELS):
        raise bad_header(path, "vox_offset", offset, f"a whole number of bytes, {lowest} or more")
    return int(offset)


def _scale(path: Path, fields: np.void) -> tuple[float, float] | None:
    # By the standard a slope of 0 means no scaling, whatever the intercept; nibabel writes NaN for that.
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or math.isnan(slope) or (slope, intercept) == (1, 0):
        return None
    for name, value in (("scl_slope", slope), ("scl_inter", intercept)):
        if not math.isfinite(value):
            raise bad_header(path, name, value, "a finite number")
    return slope, intercept


def _geometry(path: Path, fields: np.void, size_zyx: tuple[int, int, int]) -> Geometry:
    """The grid: by the sform, by the qform, or, without either, along the axes of the patient."""
    unit = int(fields["xyzt_units"]) & 7
    if unit not in _MM_OF_UNIT:
        raise bad_header(path, "xyzt_units", unit, "metre, millimetre or micrometre")
    spacing = _pixdim(path, fields)
    qform, sform = _qform(path, fields, spacing), _sform(path, fields)
    if qform is None and sform is None:
        return grid_of_axes(str(path), "pixdim", size_zyx, np.diag(spacing * _MM_OF_UNIT[unit]), (0, 0, 0))
    use_sform = sform is not None and (qform is None or _prefers_sform(fields, sform, qform, spacing))
    form = sform if use_sform else qform
    assert form is not None
    if qform is not None and sform is not None and not np.allclose(sform, qform, rtol=0, atol=0.1 * spacing.min()):
        say_once(
            logging.WARNING, "%s: its qform and sform differ; the %s is used", path, "sform" if use_sform else "qform"
        )
    lengths = np.linalg.norm(form[:, :3], axis=0)
    if use_sform and np.isfinite(lengths).all() and not np.allclose(lengths, spacing, rtol=_SAME_SPACING, atol=0):
        say_once(
            logging.WARNING,
            "%s: its pixdim (%s mm) contradicts its sform (%s mm); the sform is used",
            *(path, _show(spacing), _show(lengths)),
        )
        spacing = lengths
    axes = form[:, :3] * _TO_LPS[:, None] * _MM_OF_UNIT[unit]
    origin = form[:, 3] * _TO_LPS * _MM_OF_UNIT[unit]
    name = "sform" if use_sform else "qform"
    return grid_of_axes(str(path), name, size_zyx, axes, origin, spacing * _MM_OF_UNIT[unit])


def _pixdim(path: Path, fields: np.void) -> np.ndarray:
    pixdim = fields["pixdim"][1:4].astype(float)
    for axis, value in enumerate(pixdim, start=1):
        if not math.isfinite(value) or value == 0:
            raise bad_header(path, f"pixdim[{axis}]", value, "the distance of voxels", _RESAVE)
    if (pixdim < 0).any():
        say_once(logging.WARNING, "%s: its pixdim (%s mm) is negative; the sign is ignored", path, _show(pixdim))
    return np.abs(pixdim)


def _sform(path: Path, fields: np.void) -> np.ndarray | None:
    if int(fields["sform_code"]) <= 0:
        return None
    return np.array([fields["srow_x"], fields["srow_y"], fields["srow_z"]], float)


def _qform(path: Path, fields: np.void, spacing: np.ndarray) -> np.ndarray | None:
    """The matrix (3, 4) of the quaternion, as in nifti1_io.c, whose result is in single precision."""
    if int(fields["qform_code"]) <= 0:
        return None
    b, c, d = (float(fields[f"quatern_{name}"]) for name in "bcd")
    squares = b * b + c * c + d * d
    if not squares <= 1 + 1e-3:
        raise bad_header(path, "quatern_b, _c, _d", f"{b:g}, {c:g}, {d:g}", "a unit quaternion")
    a = math.sqrt(max(0.0, 1 - squares))
    if 1 - squares < 1e-7:
        a, (b, c, d) = 0.0, (value / math.sqrt(squares) for value in (b, c, d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    handedness = -1.0 if float(fields["pixdim"][0]) < 0 else 1.0
    offsets = [float(fields[f"qoffset_{axis}"]) for axis in "xyz"]
    with np.errstate(over="ignore"):  # refused as not finite
        axes = (rotation * spacing * (1, 1, handedness)).astype(np.float32).astype(float)
    return np.column_stack([axes, offsets])


def _prefers_sform(fields: np.void, sform: np.ndarray, qform: np.ndarray, spacing: np.ndarray) -> bool:
    """Whether the sform counts where there are both: ITK's rule, and nibabel's where pixdim contradicts the sform."""
    lengths = np.linalg.norm(sform[:, :3], axis=0)
    if not np.isfinite(sform).all() or not lengths.all():
        return False
    is_perpendicular = largest_cosine(sform[:, :3] / lengths) <= EXACT_COSINE
    contradicts = not np.allclose(lengths, spacing, rtol=_SAME_SPACING, atol=0)
    if contradicts and int(fields["sform_code"]) not in _REGISTERED_SPACES:
        return True
    is_same = np.allclose(sform, qform, rtol=0, atol=_SAME_FORM)
    return is_perpendicular and (is_same or int(fields["sform_code"]) == 1)


def _show(values: np.ndarray) -> str:
    return ", ".join(f"{value:.5g}" for value in values)
