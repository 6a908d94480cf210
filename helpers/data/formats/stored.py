"""What a header declares about its voxels, and the reading of exactly these bytes.

No more than the header declares is read, so that a hostile file costs no more than that. A missing byte, a wrong
checksum and data behind the last voxel are refused.
"""

from __future__ import annotations

import bz2
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from helpers.data.geometry import Geometry
from helpers.errors import DataError, ResourceError

Encoding = Literal["raw", "deflate", "bzip2"]

COPY_AGAIN = "Copy or download it again."
_CHUNK_BYTES = 1 << 18
# Most bytes that one compressed byte can become, rounded up: zlib's documentation, and bzip2's blocks of one value.
_LARGEST_RATIO = {"raw": 1, "deflate": 1040, "bzip2": 1_300_000}
_ZLIB_OR_GZIP = 47  # window bits with which zlib tells the two apart
_GZIP = b"\x1f\x8b"
_EMPTY_MEMBERS = 16  # bgzip ends a file with one


@dataclass(frozen=True)
class Layout:
    """The voxels that a header declares.

    Attributes:
        size_zyx: number of voxels per axis.
        dtype: as stored, in the stored byte order.
        geometry: their grid.
        scale: slope and intercept, or None if the stored values are the voxels.
    """

    size_zyx: tuple[int, int, int]
    dtype: np.dtype
    geometry: Geometry
    scale: tuple[float, float] | None = None

    @property
    def n_bytes(self) -> int:
        """Bytes of all voxels."""
        return math.prod(self.size_zyx) * self.dtype.itemsize


class Stream:
    """The bytes of an open file, decompressed, from its present position to its end.

    Its methods raise a DataError if the compressed data are damaged.
    """

    def __init__(self, path: Path, file: BinaryIO, encoding: Encoding):
        self._path, self._file, self._encoding = path, file, encoding
        self._expander = None if encoding == "raw" else _Expander(file, encoding)

    def read(self, count: int) -> bytes:
        """The next bytes, fewer only at the end."""
        buffer = bytearray(count)
        return bytes(buffer[: self._read_into(memoryview(buffer))])

    def skip(self, count: int) -> None:
        """Passes over bytes; the end is noticed by the next call."""
        while count > 0 and (part := self._part(min(_CHUNK_BYTES, count))):
            count -= len(part)

    def read_voxels(self, layout: Layout) -> np.ndarray:
        """The voxels (Z, Y, X) as stored, and nothing behind them.

        Raises:
            DataError: voxels are missing, a checksum is wrong, or the file has more bytes than the header declares.
            ResourceError: the voxels do not fit into memory.
        """
        self._check_declared(layout.n_bytes)
        try:
            array = np.empty(layout.size_zyx, layout.dtype)
        except MemoryError:
            raise ResourceError(
                f"{self._path} does not fit into memory",
                received=f"{layout.n_bytes / 2**30:.1f} GiB of voxels by its header",
                remedy="Check the sizes in its header, or crop it.",
            ) from None
        read_bytes = self._read_into(array.reshape(-1).view(np.uint8).data)
        if read_bytes < layout.n_bytes:
            raise truncated(self._path, f"{read_bytes} bytes of voxels", layout.n_bytes)
        self._require_end()
        return array

    def _read_into(self, view: memoryview) -> int:
        done = 0
        while done < len(view) and (part := self._part(min(_CHUNK_BYTES, len(view) - done))):
            view[done : done + len(part)] = part
            done += len(part)
        return done

    def _check_declared(self, n_bytes: int) -> None:
        # Before memory is taken: what the file's length cannot contain, and what is too long to be compressed voxels.
        packed = self._path.stat().st_size
        if n_bytes > packed * _LARGEST_RATIO[self._encoding]:
            raise truncated(self._path, f"a file of {packed} bytes", n_bytes)
        if packed > n_bytes + n_bytes // 100 + (1 << 20):
            raise has_more(self._path, self._encoding)

    def _require_end(self) -> None:
        if self._part(1) or (self._expander and self._expander.behind_end) or self._file.read(1):
            raise has_more(self._path, self._encoding)

    def _part(self, count: int) -> bytes:
        if self._expander is None:
            return self._file.read(count)
        try:
            return self._expander.next_bytes(count)
        except (EOFError, zlib.error, OSError, ValueError) as error:
            raise DataError(
                f"{self._path} is truncated or damaged, and cannot be read",
                received=str(error),
                expected="a complete compressed stream with a valid checksum",
                remedy=COPY_AGAIN,
            ) from None


def truncated(path: Path, received: str, n_bytes: int) -> DataError:
    """The error of a file with fewer bytes than its header declares."""
    return DataError(
        f"{path} is truncated and cannot be read",
        received=received,
        expected=f"{n_bytes} bytes by its header",
        remedy=COPY_AGAIN,
    )


def has_more(path: Path, encoding: Encoding) -> DataError:
    """The error of a file with more bytes than its header declares."""
    damage = "" if encoding == "raw" else ", or is truncated or damaged"
    return DataError(
        f"{path} has data behind its last voxel{damage}",
        received="more bytes than its header declares",
        expected="the end of the file",
        remedy=f"Its header and its voxels do not belong together. {COPY_AGAIN}",
    )


def read_behind(path: Path, file: BinaryIO, encoding: Encoding, skipped: int, layout: Layout) -> np.ndarray:
    """The voxels (Z, Y, X) behind the present position of a file and some bytes; -1: those at its end.

    Raises:
        DataError, ResourceError: as `Stream.read_voxels`.
    """
    left = path.stat().st_size - file.tell()
    stream = Stream(path, file, encoding)
    stream.skip(max(0, left - layout.n_bytes) if skipped == -1 else skipped)
    return stream.read_voxels(layout)


class _Expander:
    """Decompresses a file step by step; a gzip file of several members is one stream, as for gzip itself."""

    def __init__(self, file: BinaryIO, encoding: Encoding):
        self._file, self._encoding = file, encoding
        self._inner = self._new()
        self._pending = file.read(_CHUNK_BYTES)
        self._has_members = self._pending.startswith(_GZIP)
        self._empty_members = 0
        self.behind_end = b""

    def next_bytes(self, count: int) -> bytes:
        """Up to `count` bytes; none only at the end of a stream whose checksum was right.

        Raises:
            EOFError, zlib.error, OSError, ValueError: the stream is damaged.
        """
        while True:
            if self._inner.eof and not self._next_member():
                return b""
            part = self._inner.decompress(self._pending, count)
            self._pending = b"" if isinstance(self._inner, bz2.BZ2Decompressor) else self._inner.unconsumed_tail
            if part:
                self._empty_members = 0
                return part
            if not self._inner.eof and not self._pending:
                self._pending = self._file.read(_CHUNK_BYTES)
                if not self._pending:
                    raise EOFError("the compressed stream ends early")

    def _next_member(self) -> bool:
        rest = self._inner.unused_data or self.behind_end
        if self._has_members and len(rest) < len(_GZIP):
            rest += self._file.read(_CHUNK_BYTES)
        if not self._has_members or not rest.startswith(_GZIP):
            self.behind_end = rest
            return False
        self._empty_members += 1
        if self._empty_members > _EMPTY_MEMBERS:
            raise ValueError("many empty members of gzip")
        self._inner, self._pending = self._new(), rest
        return True

    def _new(self) -> zlib._Decompress | bz2.BZ2Decompressor:
        return bz2.BZ2Decompressor() if self._encoding == "bzip2" else zlib.decompressobj(_ZLIB_OR_GZIP)
