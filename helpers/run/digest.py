"""Content hashes of files and values."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_value(value: object) -> str:
    """SHA-256 of a JSON value; equal values have equal digests."""
    text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


_BEGINNING = b"version https://git-lfs"
REMEDY = "Run `git lfs pull` where it was cloned."


def is_lfs_pointer(head: bytes) -> bool:
    """Whether a file that begins so is a pointer (git-lfs/docs/spec.md)."""
    return head.startswith(_BEGINNING)
