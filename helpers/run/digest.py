"""Content hashes of files and values, and the recognition of Git LFS pointers."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

LFS_REMEDY = "Run `git lfs pull` in the clone."
_LFS_HEAD = b"version https://git-lfs"


def digest_file(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_path(path: Path) -> str:
    """Returns the SHA-256 of a file, or of the names and contents of the files in a folder and below it."""
    if not path.is_dir():
        return digest_file(path)
    return digest_value({found.relative_to(path).as_posix(): digest_file(found) for found in files_below(path)})


def files_below(folder: Path) -> list[Path]:
    """The files in a folder and in the folders below it, through links, each folder once."""
    found, seen = [], {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if os.path.realpath(os.path.join(place, name)) not in seen)
        seen.update(os.path.realpath(os.path.join(place, name)) for name in folders)
        found += [path for name in sorted(names) if (path := Path(place, name)).is_file()]
    return found


def digest_value(value: object) -> str:
    """Returns the SHA-256 of a JSON value; equal values have equal digests.

    >>> digest_value({"a": 1, "b": (1, 2)}) == digest_value({"b": [1, 2], "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def is_lfs_pointer(head: bytes) -> bool:
    """Whether a file with these first bytes is a pointer of Git LFS (git-lfs/docs/spec.md)."""
    return head.startswith(_LFS_HEAD)
