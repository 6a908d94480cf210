"""Reads MetaImage: `.mha`, or `.mhd` with its voxels in a second file; plain or compressed by zlib.

The header's keys are those of itkwiki's MetaIO documentation. The grid is in LPS millimetres.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from helpers.data.formats.header import (
    bad_header,
    drop_axes_of_one,
    header_lines,
    keep_field,
    not_scalar,
    numbers_of,
    open_voxels,
    require_fields,
    sizes_of,
    what_it_is,
    whole_number,
)
from helpers.data.formats.stored import Layout, has_more, read_behind, truncated
from helpers.data.geometry import Geometry, grid_of_axes

_TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4"},
    **{"MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8"},
    **{"MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
# Several names for one thing: the first one is the present one.
_SPACING = ("ElementSpacing", "ElementSize")
_ORIGIN = ("Offset", "Position", "Origin")
_AXES = ("TransformMatrix", "Rotation", "Orientation")
_BYTE_ORDER = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_LARGEST_FILE = 1 << 45
# Keys that change the values, and the only value that leaves them as they are.
_NEUTRAL = {"ElementToIntensityFunctionSlope": 1.0, "ElementToIntensityFunctionOffset": 0.0}

Fields = dict[str, str]


def read_metaimage(path: Path) -> tuple[np.ndarray, Layout]:
    """The voxels (Z, Y, X) as stored, and their layout.

    Raises:
        DataError: a field of the header is unusable, or a file is missing, truncated or damaged.
    """
    with open(path, "rb") as header:
        fields = _read_fields(path, header)
        layout = _layout(path, fields)
        name = fields["ElementDataFile"]
        second = None if name.upper() == "LOCAL" else name
        with open_voxels(path, header, "ElementDataFile", second) as (voxel_path, file):
            return _read_voxels(path, voxel_path, file, fields, layout), layout


def _read_voxels(path: Path, voxel_path: Path, file: BinaryIO, fields: Fields, layout: Layout) -> np.ndarray:
    is_compressed = _is_true(path, fields, "CompressedData")
    left = voxel_path.stat().st_size - file.tell()
    skipped = whole_number(path, "HeaderSize", fields.get("HeaderSize", "0"), -1, _LARGEST_FILE)
    if skipped and is_compressed:
        raise bad_header(path, "HeaderSize", skipped, "none with CompressedData")
    if "CompressedDataSize" in fields and is_compressed:
        declared = whole_number(path, "CompressedDataSize", fields["CompressedDataSize"], 0, _LARGEST_FILE)
        if declared > left:
            raise truncated(voxel_path, f"{left} bytes of compressed voxels", declared)
        if 0 < declared < left:
            raise has_more(voxel_path, "deflate")
    return read_behind(voxel_path, file, "deflate" if is_compressed else "raw", skipped, layout)


def _read_fields(path: Path, file: BinaryIO) -> Fields:
    head = file.read(132)
    file.seek(0)
    if b"=" not in head or what_it_is(head) not in ("MetaImage", f"first bytes {head[:4].hex()}"):
        raise bad_header(path, "first line", what_it_is(head), "a MetaImage header")
    fields: Fields = {}
    for line in header_lines(path, file, last="ElementDataFile"):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            if not line or line.startswith("#"):
                continue
            raise bad_header(path, "line", repr(line[:60]), "Key = Value")
        keep_field(path, fields, key, value)
    require_fields(path, fields, ("NDims", "DimSize", "ElementType"))
    return fields


def _layout(path: Path, fields: Fields) -> Layout:
    if fields.get("ObjectType", "Image") != "Image":
        raise bad_header(path, "ObjectType", fields["ObjectType"][:40], "Image")
    n_axes = whole_number(path, "NDims", fields["NDims"], 1, 10)
    sizes = sizes_of(path, "DimSize", fields["DimSize"], n_axes)
    channels = whole_number(path, "ElementNumberOfChannels", fields.get("ElementNumberOfChannels", "1"), 1, 1 << 16)
    if channels != 1 or fields["ElementType"].endswith("_ARRAY"):
        raise not_scalar(path, f"{channels} channels of {fields['ElementType'][:40]}")
    if fields["ElementType"] not in _TYPES:
        raise bad_header(path, "ElementType", fields["ElementType"][:40], f"one of {', '.join(_TYPES)}")
    if not _is_true(path, fields, "BinaryData", default="True"):
        raise bad_header(path, "BinaryData", "False", "True: voxels written as text are not read")
    for key, neutral in _NEUTRAL.items():
        if key in fields and numbers_of(path, key, fields[key], 1) != [neutral]:
            raise bad_header(path, key, fields[key][:40], f"{neutral:g}: ITK and this reader do not apply it")
    size_zyx = drop_axes_of_one(path, sizes)
    order = ">" if any(_is_true(path, fields, key) for key in _BYTE_ORDER) else "<"
    return Layout(
        size_zyx, np.dtype(order + _TYPES[fields["ElementType"]]), _geometry(path, fields, size_zyx, n_axes)
    )


def _geometry(path: Path, fields: Fields, size_zyx: tuple[int, int, int], n_axes: int) -> Geometry:
    if fields.get("DistanceUnits", "mm") not in ("mm", "?", ""):
        raise bad_header(path, "DistanceUnits", fields["DistanceUnits"][:40], "mm")
    key = _first_of(fields, _SPACING)
    if key is None:
        raise bad_header(path, _SPACING[0], "no value", "the distances of voxels")
    spacing = np.array(numbers_of(path, key, fields[key], n_axes))[:3]
    if (spacing <= 0).any():
        raise bad_header(path, key, fields[key][:60], "positive numbers")
    origin, axes = np.zeros(n_axes), np.eye(n_axes)
    if (key := _first_of(fields, _ORIGIN)) is not None:
        origin = np.array(numbers_of(path, key, fields[key], n_axes))
    if (key := _first_of(fields, _AXES)) is not None:
        axes = np.array(numbers_of(path, key, fields[key], n_axes * n_axes)).reshape(n_axes, n_axes)
    direction = axes[:3, :3].T  # a row of the matrix is the direction of one axis
    for name, column in zip("xyz", direction.T, strict=True):
        length = math.hypot(*column)
        if abs(length - 1) > 0.01:
            raise bad_header(path, key or _AXES[0], f"length {length:.3g} of axis {name}", "axes of length 1")
    return grid_of_axes(str(path), _AXES[0], size_zyx, direction * spacing, origin[:3], spacing)


def _first_of(fields: Fields, keys: tuple[str, ...]) -> str | None:
    found = [key for key in keys if key in fields]
    return found[0] if found else None


def _is_true(path: Path, fields: Fields, key: str, default: str = "False") -> bool:
    text = fields.get(key, default)
    if text[:1] not in ("T", "t", "1", "F", "f", "0"):
        raise bad_header(path, key, repr(text[:40]), "True or False")
    return text[:1] in "Tt1"
