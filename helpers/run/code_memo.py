"""What roots of the code reach, kept in the outputs folder, so that sources are not parsed in every process.

An entry holds for exactly one content of all sources, so it cannot outlive an edit, not even one under the old time
stamp; and for one version of Python, whose syntax trees the digests are of.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from helpers.errors import ResourceError
from helpers.run.atomic import write_json


class CodeMemo:
    """A JSON file of digests by key, whose name says which sources they belong to.

    Args:
        package: the folder of the sources.
        folder: of the file; it need not exist.
    """

    def __init__(self, package: Path, folder: Path):
        self._path = folder / f"{_digest_sources(package)}.json"
        self._entries = self._read()

    def find(self, key: str, is_installed: Callable[[str], bool]) -> tuple[str, frozenset[str]] | None:
        """The digest and the libraries of a key; None if they are not known.

        Args:
            key: of the roots.
            is_installed: whether a top-level module is still not one of the user's own, whose code would count.
        """
        try:
            digest, libraries, outside = self._entries[key]
            if all(is_installed(top) for top in outside):
                return str(digest), frozenset(map(str, libraries))
        except (KeyError, TypeError, ValueError):
            pass
        return None

    def keep(self, key: str, digest: str, libraries: frozenset[str], outside: Sequence[str]) -> None:
        """Adds an entry, and removes those of other sources; a folder that cannot be written to is left as it is."""
        self._entries = {**self._read(), **self._entries, key: [digest, sorted(libraries), sorted(outside)]}
        with contextlib.suppress(OSError, ResourceError):
            write_json(self._path, self._entries)
            for path in self._path.parent.glob("*.json"):
                if path != self._path:
                    path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


@functools.cache
def _digest_sources(package: Path) -> str:
    total = hashlib.sha256(sys.version.encode())
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        total.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()[:32]
