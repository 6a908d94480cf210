"""Git LFS pointers: the few lines of text that a clone without LFS has in the place of a large file."""

from __future__ import annotations

_BEGINNING = b"version https://git-lfs"
REMEDY = "Run `git lfs pull` where it was cloned."


def is_lfs_pointer(head: bytes) -> bool:
    """Whether a file that begins so is a pointer (git-lfs/docs/spec.md)."""
    return head.startswith(_BEGINNING)
