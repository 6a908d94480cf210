"""A download that is not whole yet: the bytes so far, and which of the server's files they belong to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

_BLOCK = 1 << 20


@dataclass(frozen=True)
class ServerFile:
    """What a server says about its file; a later answer that differs is about another file."""

    url: str
    size_bytes: int | None
    etag: str | None
    last_modified: str | None

    def validator(self) -> str | None:
        """What an If-Range header may hold: a strong ETag, else the date, else nothing."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


class Partial:
    """`<target>.part` with its bytes, and `<target>.part.json` with the server's file that they came from."""

    def __init__(self, target: Path):
        self.path = target.with_name(target.name + ".part")
        self._note = target.with_name(target.name + ".part.json")

    def server_file(self) -> ServerFile | None:
        """The file that the bytes belong to, or None when there are none or that is not known."""
        try:
            return ServerFile(**json.loads(self._note.read_text(encoding="utf-8"))) if self.size() else None
        except (OSError, ValueError, TypeError):
            return None

    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def begin(self, server_file: ServerFile) -> None:
        """Forgets the bytes so far and notes which file the next ones belong to."""
        self._note.write_text(json.dumps(asdict(server_file)), encoding="utf-8")
        self.path.write_bytes(b"")

    def hashes(self) -> Hashes:
        """MD5 and SHA-256 of the bytes so far, to be continued."""
        hashes = Hashes()
        if self.path.exists():
            with open(self.path, "rb") as stream:
                while block := stream.read(_BLOCK):
                    hashes.update(block)
        return hashes

    def remove(self) -> None:
        """Removes the bytes and the note."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def become(self, target: Path) -> None:
        """Takes the target's name, in one step."""
        self.path.replace(target)
        self._note.unlink(missing_ok=True)


class Hashes:
    """MD5 and SHA-256 of a stream, side by side."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    def update(self, block: bytes) -> None:
        """Adds the next bytes."""
        self._md5.update(block)
        self._sha256.update(block)

    def values(self) -> dict[str, str]:
        """Both digests in hexadecimal digits, by name."""
        return {"md5": self._md5.hexdigest(), "sha256": self._sha256.hexdigest()}


def hash_file(path: Path) -> dict[str, str]:
    """MD5 and SHA-256 of a file, read once."""
    hashes = Hashes()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            hashes.update(block)
    return hashes.values()
