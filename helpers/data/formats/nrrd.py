"""Reads NRRD: `.nrrd`, or `.nhdr` with its voxels in a second file; plain, gzip or bzip2.

The header's fields are those of http://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import re
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
from helpers.data.formats.stored import Encoding, Layout, read_behind
from helpers.data.geometry import Geometry, grid_of_axes

_TYPE_NAMES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_TYPES = {name: code for code, names in _TYPE_NAMES.items() for name in names}
_ENCODINGS: dict[str, Encoding] = {"raw": "raw", "gzip": "deflate", "gz": "deflate", "bzip2": "bzip2", "bz2": "bzip2"}
# Signs that take the axes of a space to LPS.
_SPACES = {
    **dict.fromkeys(("left-posterior-superior", "LPS"), (1, 1, 1)),
    **dict.fromkeys(("right-anterior-superior", "RAS"), (-1, -1, 1)),
    **dict.fromkeys(("left-anterior-superior", "LAS"), (1, -1, 1)),
}
_VECTOR = re.compile(r"none|\([^()]*\)")
_LARGEST_SKIP = 1 << 45

Fields = dict[str, str]


def read_nrrd(path: Path) -> tuple[np.ndarray, Layout]:
    """The voxels (Z, Y, X) as stored, and their layout.

    Raises:
        DataError: a field of the header is unusable, or a file is missing, truncated or damaged.
    """
    with open(path, "rb") as header:
        fields = _read_fields(path, header)
        layout = _layout(path, fields)
        with open_voxels(path, header, "data file", fields.get("datafile")) as (voxel_path, file):
            return _read_voxels(path, voxel_path, file, fields, layout), layout


def _read_voxels(path: Path, voxel_path: Path, file: BinaryIO, fields: Fields, layout: Layout) -> np.ndarray:
    encoding = _ENCODINGS[fields["encoding"]]
    skipped = whole_number(path, "byte skip", fields.get("byteskip", "0"), -1, _LARGEST_SKIP)
    if whole_number(path, "line skip", fields.get("lineskip", "0"), 0, _LARGEST_SKIP):
        raise bad_header(path, "line skip", fields["lineskip"][:40], "0")
    if skipped and encoding != "raw":
        raise bad_header(path, "byte skip", skipped, "0 for compressed voxels")
    return read_behind(voxel_path, file, encoding, skipped, layout)


def _read_fields(path: Path, file: BinaryIO) -> Fields:
    head = file.read(132)
    file.seek(0)
    if not re.match(rb"NRRD000[1-5]\r?\n", head):
        raise bad_header(path, "first line", what_it_is(head), "NRRD0001 to NRRD0005")
    fields: Fields = {}
    for line in header_lines(path, file, last="")[1:]:
        if not line or line.startswith("#") or ":=" in line:
            continue
        key, colon, value = line.partition(": ")
        key = key.rstrip(":").strip().lower().replace(" ", "")
        if not (colon or line.endswith(":")):
            raise bad_header(path, "line", repr(line[:60]), "field: value")
        keep_field(path, fields, key, value.strip())
    if "encoding" in fields:
        fields["encoding"] = fields["encoding"].lower()
    require_fields(path, fields, ("type", "dimension", "sizes", "encoding"))
    return fields


def _layout(path: Path, fields: Fields) -> Layout:
    n_axes = whole_number(path, "dimension", fields["dimension"], 1, 16)
    sizes = sizes_of(path, "sizes", fields["sizes"], n_axes)
    if fields["encoding"] not in _ENCODINGS:
        raise bad_header(path, "encoding", fields["encoding"][:40], "raw, gzip or bzip2")
    if fields["type"] not in _TYPES:
        if fields["type"] == "block":
            raise not_scalar(path, "blocks of bytes")
        raise bad_header(path, "type", fields["type"][:40], "an integer type, float or double")
    dtype = np.dtype(_TYPES[fields["type"]])
    if dtype.itemsize > 1:
        if fields.get("endian") not in ("little", "big"):
            raise bad_header(path, "endian", repr(fields.get("endian", "")[:40]), "little or big")
        dtype = dtype.newbyteorder(fields["endian"])  # type: ignore[arg-type]
    axes = _space_directions(path, fields, n_axes)
    # An axis of one component or one time point may be at either end.
    kept = [axis for axis in range(n_axes) if not (sizes[axis] == 1 and axes is not None and axes[axis] is None)]
    size_zyx = drop_axes_of_one(path, [sizes[axis] for axis in kept])
    return Layout(size_zyx, dtype, _geometry(path, fields, size_zyx, axes, kept))


def _geometry(
    path: Path, fields: Fields, size_zyx: tuple[int, int, int], axes: list[np.ndarray | None] | None, kept: list[int]
) -> Geometry:
    if "space" not in fields:
        signs = (1, 1, 1)
    elif fields["space"] in _SPACES:
        signs = _SPACES[fields["space"]]
    else:
        raise bad_header(path, "space", fields["space"][:60], "LPS, RAS or LAS by their full names")
    units = re.findall(r'"([^"]*)"', fields.get("spaceunits", "") + fields.get("units", ""))
    if any(unit not in ("mm", "", "???", "millimeter") for unit in units):
        raise bad_header(path, "space units", ", ".join(units)[:60], "mm")
    if axes is None:
        if "spacings" not in fields:
            raise bad_header(path, "space directions", "no value, and no spacings", "the distances of voxels")
        values = [text for index, text in enumerate(fields["spacings"].split()) if index in kept[:3]]
        spacing = np.array(numbers_of(path, "spacings", " ".join(values), 3))
        if (spacing <= 0).any():
            raise bad_header(path, "spacings", fields["spacings"][:60], "positive numbers")
        for name, key in (("axis mins", "axismins"), ("axis maxs", "axismaxs")):
            # Whether they are the middle or the border of the first voxel depends on further fields.
            if set(fields.get(key, "").lower().split()) - {"nan"}:
                raise bad_header(path, name, fields[key][:60], "a space with its origin instead")
        return grid_of_axes(str(path), "spacings", size_zyx, np.diag(spacing) * signs, np.zeros(3), spacing)
    vectors = [axes[axis] for axis in kept[:3]]
    if any(vector is None for vector in vectors):
        raise bad_header(path, "space directions", "none for an axis of the volume", "a vector for each axis")
    origin = np.zeros(3)
    if "spaceorigin" in fields:
        origin = _vector(path, "space origin", fields["spaceorigin"])
    columns = np.array(vectors, float).T * np.array(signs)[:, None]
    return grid_of_axes(str(path), "space directions", size_zyx, columns, origin * signs)


def _space_directions(path: Path, fields: Fields, n_axes: int) -> list[np.ndarray | None] | None:
    text = fields.get("spacedirections")
    if text is None:
        return None
    parts = _VECTOR.findall(text)
    if len(parts) != n_axes or _VECTOR.sub("", text).strip():
        raise bad_header(path, "space directions", text[:80], f"{n_axes} vectors")
    return [None if part == "none" else _vector(path, "space directions", part) for part in parts]


def _vector(path: Path, field: str, text: str) -> np.ndarray:
    if not (text.startswith("(") and text.endswith(")")):
        raise bad_header(path, field, text[:60], "(x,y,z)")
    return np.array(numbers_of(path, field, text[1:-1].replace(",", " "), 3))
