"""Disk space: refused before it is too late, explained when it runs out all the same."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from helpers.errors import ResourceError

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


@contextlib.contextmanager
def explain_full_disk(path: Path) -> Iterator[None]:
    """Turns "no space left" into a ResourceError that says where."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ResourceError(
            f"no disk space left while writing {path}", received=error.strerror, remedy=_REMEDY
        ) from None
