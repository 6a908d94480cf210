"""Disk space: refused before it is too late, explained when it runs out all the same."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from helpers.errors import ResourceError
from helpers.run import atomic

_RESERVE_BYTES = 64 << 20
_REMEDY = "Free space or choose a destination on another disk, then fetch again."


def refuse_small_disk(folder: Path, needed_bytes: int, what: str) -> None:
    """Raises a ResourceError when a folder's disk has no room for the bytes that are about to be written."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes + _RESERVE_BYTES:
        raise ResourceError(
            f"the disk of {folder} is too small for {what}",
            received=f"{free / 1e9:.2f} GB free",
            expected=f"{(needed_bytes + _RESERVE_BYTES) / 1e9:.2f} GB",
            remedy=_REMEDY,
        )


def explain_full_disk(path: Path) -> contextlib.AbstractContextManager[None]:
    """Turns "no space left" into a ResourceError that says where."""
    return atomic.explain_full_disk(path, _REMEDY)
