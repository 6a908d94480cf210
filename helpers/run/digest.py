"""Content hashes: of files, of values and of the code that turns one into the other."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

from helpers.params.paths import PROJECT_ROOT

# A change in these folders may change a number; one in view, doctor or cli cannot.
DECIDING_FOLDERS = (
    "networks",
    "graph",
    "compile",
    "devices",
    "data",
    "inference",
    "interop",
    "scoring",
    "recipes",
    "stages",
)
DECIDING_FOLDERS += ("study", "demo")


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_value(value: object) -> str:
    """SHA-256 of a JSON value; equal values have equal digests."""
    text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@functools.cache
def digest_code() -> str:
    """SHA-256 of the source files that decide a result, so that no result outlives its code."""
    total = hashlib.sha256()
    for folder in DECIDING_FOLDERS:
        for path in sorted((PROJECT_ROOT / "helpers" / folder).rglob("*.py")):
            total.update(path.relative_to(PROJECT_ROOT).as_posix().encode())
            total.update(path.read_bytes())
    return total.hexdigest()


_BEGINNING = b"version https://git-lfs"
REMEDY = "Run `git lfs pull` where it was cloned."


def is_lfs_pointer(head: bytes) -> bool:
    """Whether a file that begins so is a pointer (git-lfs/docs/spec.md)."""
    return head.startswith(_BEGINNING)
