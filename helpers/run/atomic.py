"""Atomic writes: a file is complete or absent, because it is written under another name and then renamed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from helpers.errors import ResourceError

_REMEDY = "Free space or set `outputs` to a folder on another disk; finished stages are kept."


@contextlib.contextmanager
def explain_full_disk(path: Path, remedy: str = _REMEDY) -> Iterator[None]:
    """Turns "no space left on device" into an error that names the place and the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ResourceError(
            f"no disk space left while writing {path}",
            received=f"{_free_megabytes(path)} MB free",
            remedy=remedy,
        ) from None


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder, which replaces `path` if the block succeeds."""
    with explain_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".part-", suffix=path.name[-32:], dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, content: object) -> None:
    """Writes JSON atomically with sorted keys, so that equal content gives equal bytes."""
    with atomic_path(path) as temporary:
        temporary.write_text(
            json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def copy_file(source: Path, target: Path) -> None:
    """Copies a file atomically."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def _free_megabytes(path: Path) -> int:
    folder = path if path.is_dir() else path.parent
    return shutil.disk_usage(folder).free >> 20 if folder.exists() else 0
