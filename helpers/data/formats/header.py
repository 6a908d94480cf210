"""What the readers of text headers share: their lines, numbers and the file that holds the voxels."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from helpers.errors import DataError

_LONGEST_HEADER = 1 << 20
_LARGEST_AXIS = 1 << 20
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"NRRD": "NRRD",
    b"ObjectType": "MetaImage",
    b"NDims": "MetaImage",
    b"\x5c\x01\x00\x00": "NIfTI",
    b"\x00\x00\x01\x5c": "NIfTI",
    b"\x1c\x02\x00\x00": "NIfTI-2",
    b"\x00\x00\x02\x1c": "NIfTI-2",
    b"\x89PNG": "PNG",
    b"PK\x03\x04": "a ZIP archive",
    b"\x89HDF": "HDF5",
    b"<": "HTML or XML",
}


def header_lines(path: Path, file: BinaryIO, *, last: str) -> list[str]:
    """The lines of a text header, up to the one with the key `last`, or up to the empty line if that is blank.

    Raises:
        DataError: the header does not end, or is not text.
    """
    lines: list[str] = []
    left = _LONGEST_HEADER
    while left > 0 and (line := file.readline(left)):
        left -= len(line)
        if b"\x00" in line:
            raise bad_header(path, "header", "bytes that are not text", "lines of text")
        text = line.decode("utf-8", errors="replace").strip()
        lines.append(text)
        if text == last or (last and text.split("=")[0].strip() == last):
            return lines
    if not last and left > 0:  # a detached header may end with its file
        return lines
    raise bad_header(path, "header", "no end within 1 MB", f"a line with {last}" if last else "an empty line")


def bad_header(path: Path, field: str, received: object, expected: object, remedy: str | None = None) -> DataError:
    """The error of one field of a header."""
    return DataError(
        f"{path} has an unusable {field} in its header",
        received=received,
        expected=expected,
        remedy=remedy or "Get the file again, or write it again with another tool.",
    )


def what_it_is(head: bytes) -> str:
    """What a file is by its first bytes, for messages.

    >>> what_it_is(b"NRRD0004")
    'NRRD'
    """
    for start, name in _MAGIC.items():
        if head.startswith(start):
            return name
    if head[128:132] == b"DICM":
        return "DICOM"
    return f"first bytes {head[:4].hex()}"


def numbers_of(path: Path, field: str, text: str, count: int | None = None) -> list[float]:
    """Finite numbers that are separated by blanks.

    Raises:
        DataError: a part is not a finite number, or their count differs.
    """
    values = []
    for part in text.split():
        try:
            value = float(part) if part.isascii() and "_" not in part else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise bad_header(path, field, repr(part[:40]), "finite numbers")
        values.append(value)
    if count is not None and len(values) != count:
        raise bad_header(path, field, f"{len(values)} numbers", f"{count} numbers")
    return values


def whole_number(path: Path, field: str, text: str, lowest: int, highest: int) -> int:
    """A whole number within limits.

    Raises:
        DataError: it is something else.
    """
    text = text.strip()
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and lowest <= int(text) <= highest):
        raise bad_header(path, field, repr(text[:40]), f"a whole number from {lowest} to {highest}")
    return int(text)


def sizes_of(path: Path, field: str, text: str, count: int) -> list[int]:
    """The numbers of voxels per axis, the fastest axis first.

    Raises:
        DataError: their count differs, or one is not a plausible number of voxels.
    """
    parts = text.split()
    if len(parts) != count:
        raise bad_header(path, field, f"{len(parts)} numbers", f"{count} numbers")
    return [whole_number(path, field, part, 1, _LARGEST_AXIS) for part in parts]


def second_file(path: Path, field: str, name: str) -> Path:
    """The file next to a header that holds its voxels.

    A header comes from outside: it may name a file in its own folder only, and no pattern or list of files.

    Raises:
        DataError: the name leaves the folder, also by a link, is a pattern, or names no file.
    """
    parts = Path(name).parts
    is_plain = name and "%" not in name and "\\" not in name and not os.path.isabs(name) and ".." not in parts
    if not is_plain or not name.isprintable() or name == "LIST" or name.startswith(("LIST ", "LIST:", "~")):
        raise bad_header(path, field, repr(name[:80]), "the name of one file in the folder of the header")
    found = path.parent / name
    try:
        real = found.resolve()
        is_file = real.is_file()
    except (OSError, RuntimeError, ValueError):
        is_file = False
    if not is_file:
        raise DataError(
            f"{path} is a header without its voxels",
            received=f"no file {name[:80]!r} in its folder",
            expected=f"the file that its {field} names",
            remedy="Keep both files together, under the names they were written with.",
        )
    # A header that is itself a link is read with the file next to its target.
    if not any(real.is_relative_to(folder) for folder in (path.parent.resolve(), path.resolve().parent)):
        raise bad_header(path, field, f"{name[:80]!r}, a link that leaves the folder", "a file next to the header")
    return found


@contextmanager
def open_voxels(path: Path, header: BinaryIO, field: str, name: str | None) -> Iterator[tuple[Path, BinaryIO]]:
    """The file that holds the voxels, and its path: the header's own, read up to its end, or the one it names.

    Args:
        path: of the header.
        header: the open file.
        field: that names the second file, for messages.
        name: of the second file; None if there is none.

    Raises:
        DataError: as `second_file`.
    """
    if name is None:
        yield path, header
        return
    voxel_path = second_file(path, field, name)
    with open(voxel_path, "rb") as file:
        yield voxel_path, file


def keep_field(path: Path, fields: dict[str, str], key: str, value: str) -> None:
    """Adds a field to those of a header.

    Raises:
        DataError: it is there already.
    """
    if key in fields:
        raise bad_header(path, key, "the field twice", "one value")
    fields[key] = value


def require_fields(path: Path, fields: dict[str, str], keys: Iterable[str]) -> None:
    """Checks that a header has fields, and that they have a value.

    Raises:
        DataError: one is missing or empty.
    """
    for key in keys:
        if not fields.get(key):
            raise bad_header(path, key, "no value", "one")


def drop_axes_of_one(path: Path, sizes: list[int]) -> tuple[int, int, int]:
    """The size (Z, Y, X) of a volume from sizes with the fastest axis first; further axes must have size 1.

    Raises:
        DataError: there are fewer or more axes.
    """
    if len(sizes) < 3 or any(size != 1 for size in sizes[3:]):
        raise DataError(
            f"{path} is not a 3-D volume",
            received=f"{len(sizes)} axes of size {tuple(sizes)}",
            expected="3 axes",
            remedy="Split it into one volume per channel or time point.",
        )
    return sizes[2], sizes[1], sizes[0]


def not_scalar(path: Path, received: str) -> DataError:
    """The error of a file with several numbers per voxel."""
    return DataError(
        f"{path} is not a scalar volume",
        received=received,
        expected="one real number per voxel",
        remedy="Convert it to one volume per channel.",
    )
