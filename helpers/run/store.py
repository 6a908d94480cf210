"""The cache of stages, shared by all runs: results and files under the hash of everything that determines them."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.run.atomic import copy_file, working_folder, write_json
from helpers.run.digest import digest_file

_LOG = logging.getLogger("cookbook")
_RECORD = "entry.json"
_RETRY_PAUSES_S = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class CacheEntry:
    """The cached output of a stage: its result as JSON, and the digests of its files by relative name."""

    key: str
    folder: Path
    result: dict[str, Any]
    files: dict[str, str]


class Store:
    """Folders `<root>/<key>/` with files and an `entry.json`, which is written last.

    A folder without `entry.json`, or with a file whose digest differs, is not found, so the stage runs again.
    """

    def __init__(self, root: Path):
        self.root = root

    def find(self, key: str) -> CacheEntry | None:
        """Returns the entry of a key if it is complete and unchanged, else None."""
        folder = self.root / key
        try:
            entry = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
            result, files = dict(entry["result"]), dict(entry["files"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        for name, digest in files.items():
            path = folder / name
            if not path.is_file() or digest_file(path) != digest:
                _LOG.warning("cache: %s of entry %s is missing or changed; the stage runs again", name, key[:12])
                return None
        return CacheEntry(key, folder, result, files)

    def working_folder(self) -> contextlib.AbstractContextManager[Path]:
        """An empty folder for files, which is removed at the end unless `keep` has moved it."""
        return working_folder(self.root)

    def keep(self, key: str, working: Path, result: dict[str, Any]) -> CacheEntry:
        """Moves the files of a working folder under a key and replaces an existing entry."""
        files = describe_entry(key, working, result).files
        write_json(working / _RECORD, {"result": result, "files": files})
        folder = self.root / key
        for last in (False, False, True):
            shutil.rmtree(folder, ignore_errors=True)
            try:
                os.replace(working, folder)
                break
            except OSError as error:
                # Another process has just stored the same key; its inputs were equal, so either entry is valid.
                if last or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        return CacheEntry(key, folder, result, files)

    def forget(self, key: str) -> None:
        """Removes the entry of a key."""
        shutil.rmtree(self.root / key, ignore_errors=True)


def describe_entry(key: str, folder: Path, result: dict[str, Any]) -> CacheEntry:
    """An entry of the files in a folder, which is not in the store."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return CacheEntry(key, folder, result, {path.relative_to(folder).as_posix(): digest_file(path) for path in paths})


def place_files(entry: CacheEntry, folder: Path) -> None:
    """Copies the files of an entry into a run folder, each one atomically."""
    for name in entry.files:
        for pause_s in (*_RETRY_PAUSES_S, None):
            try:
                copy_file(entry.folder / name, folder / name)
                break
            except FileNotFoundError:  # another process is replacing the same entry
                if pause_s is None:
                    raise
                time.sleep(pause_s)
