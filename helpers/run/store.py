"""One store of finished work for all runs: found by the hash of everything that decided it."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from helpers.run.atomic import copy_file, explain_full_disk, write_json
from helpers.run.digest import digest_file

_LOG = logging.getLogger("cookbook")
_RECORD = "entry.json"
_PAUSES_S = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class CacheEntry:
    """A finished piece of work: its result as JSON and its files by relative name, with their digests."""

    key: str
    folder: Path
    result: dict
    files: dict[str, str]


class Store:
    """Folders `<root>/<key>/`, each holding files and an `entry.json` written last.

    A folder without its entry, or with a file that no longer has its digest, is not found: half-written or
    altered work is made again.
    """

    def __init__(self, root: Path):
        self.root = root

    def find(self, key: str) -> CacheEntry | None:
        """The work under a key, if it is whole."""
        folder = self.root / key
        try:
            entry = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
            result, files = entry["result"], entry["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        for name, digest in files.items():
            path = folder / name
            if not path.is_file() or digest_file(path) != digest:
                _LOG.warning("store: %s of %s is missing or altered; it is made again", name, key[:12])
                return None
        return CacheEntry(key, folder, result, files)

    @contextlib.contextmanager
    def working_folder(self) -> Iterator[Path]:
        """An empty folder to make files in; removed at the end unless `keep` took it."""
        with explain_full_disk(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            self._remove_left_over()
            folder = Path(tempfile.mkdtemp(prefix=f".work-{platform.node()}-{os.getpid()}-", dir=self.root))
        try:
            with explain_full_disk(folder):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _remove_left_over(self) -> None:
        """Removes the working folders of processes of this machine that were killed."""
        for folder in self.root.glob(f".work-{platform.node()}-*-*"):
            pid = folder.name.removeprefix(f".work-{platform.node()}-").partition("-")[0]
            if pid.isdigit() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)

    def keep(self, key: str, working: Path, result: dict) -> CacheEntry:
        """Moves a working folder's files under a key, replacing what was there."""
        files = {
            path.relative_to(working).as_posix(): digest_file(path)
            for path in sorted(working.rglob("*"))
            if path.is_file()
        }
        write_json(working / _RECORD, {"result": result, "files": files})
        folder = self.root / key
        for last in (False, False, True):
            shutil.rmtree(folder, ignore_errors=True)
            try:
                os.replace(working, folder)
                break
            except OSError as error:
                # Another process kept the same key just now: equal inputs, so either one will do.
                if last or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        return CacheEntry(key, folder, result, files)

    def forget(self, key: str) -> None:
        """Removes the work under a key."""
        shutil.rmtree(self.root / key, ignore_errors=True)


def place_files(work: CacheEntry, folder: Path) -> None:
    """Copies a piece of work's files into a run's folder, atomically one by one."""
    for name in work.files:
        for pause_s in (*_PAUSES_S, None):
            try:
                copy_file(work.folder / name, folder / name)
                break
            except FileNotFoundError:  # another process is just putting the same work in its place
                if pause_s is None:
                    raise
                time.sleep(pause_s)
