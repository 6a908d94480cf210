"""Atomic writes: a file is complete or absent, because it is written under another name and then renamed.

A file that has its name is also on the disk: a loss of power after the rename does not leave it torn.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from helpers.errors import ResourceError

_REMEDY = "Free space or set `outputs` to a folder on another disk; finished stages are kept."
_FULL = {
    errno.ENOSPC: "no disk space left",
    errno.EDQUOT: "no disk space left",
    errno.EFBIG: "the limit for the size of a file was reached",
}
# Names of temporary files and folders hold machine and process, so that those of killed processes can be told.
_PART, _WORK = ".part-", ".work-"
# Those of this process, for the handler of a signal that ends it.
_OPEN: set[Path] = set()


@contextlib.contextmanager
def explain_full_disk(path: Path, remedy: str = _REMEDY) -> Iterator[None]:
    """Turns "no space left on device" into an error that names the place and the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise ResourceError(
            f"{_FULL[error.errno]} while writing {path}",
            received=f"{_free_megabytes(path)} MB free",
            remedy=remedy,
        ) from None


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder, which replaces `path` if the block succeeds."""
    with explain_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_own_prefix(_PART), suffix=path.name[-32:], dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        _OPEN.add(temporary)
        try:
            yield temporary
            os.chmod(temporary, 0o644)
            _sync(temporary)
            os.replace(temporary, path)
            with contextlib.suppress(OSError):  # some network file systems cannot flush a folder
                _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
            _OPEN.discard(temporary)


@contextlib.contextmanager
def working_folder(parent: Path) -> Iterator[Path]:
    """Yields an empty folder in `parent` and removes it at the end, unless it was renamed."""
    with explain_full_disk(parent):
        parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(parent)
        folder = Path(tempfile.mkdtemp(prefix=_own_prefix(_WORK), dir=parent))
    _OPEN.add(folder)
    try:
        with explain_full_disk(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _OPEN.discard(folder)


def remove_leftovers(folder: Path, *, deep: bool = False) -> None:
    """Removes the temporary files and folders that killed processes of this machine left in a folder.

    Args:
        folder: may be missing.
        deep: also in the folders below it.
    """
    for kind in (_PART, _WORK):
        start = f"{kind}{platform.node()}-"
        for path in (folder.rglob if deep else folder.glob)(f"{kind}*"):
            pid = path.name.removeprefix(start).partition("-")[0]
            if path.name.startswith(start) and pid.isdecimal() and not _is_running(int(pid)):
                _remove(path)


def remove_own_temporaries() -> None:
    """Removes the temporary files and folders of this process, which is about to end in the middle of its work."""
    for path in list(_OPEN):
        _remove(path)


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


def _own_prefix(kind: str) -> str:
    return f"{kind}{platform.node()}-{os.getpid()}-"


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _free_megabytes(path: Path) -> int:
    folder = path if path.is_dir() else path.parent
    return shutil.disk_usage(folder).free >> 20 if folder.exists() else 0
