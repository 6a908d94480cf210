"""Files that are whole or not there: written beside the target and renamed."""

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
    """Turns "no space left" into one clear line that says where and what to do."""
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
def replace_when_whole(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; it takes the place of `path` when the block ends well."""
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
    """Writes JSON atomically, keys sorted, so that equal content is equal bytes."""
    with replace_when_whole(path) as temporary:
        temporary.write_text(
            json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def copy_file(source: Path, target: Path) -> None:
    """Copies one file atomically."""
    with replace_when_whole(target) as temporary:
        shutil.copyfile(source, temporary)


def _free_megabytes(path: Path) -> int:
    folder = path if path.is_dir() else path.parent
    return shutil.disk_usage(folder).free >> 20 if folder.exists() else 0
