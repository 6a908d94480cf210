"""Unpacks untrusted zip and tar archives safely: into one folder, and either completely or not at all."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

import psutil

from helpers.errors import DataError, ResourceError
from helpers.fetch.download import check_disk_space, explain_full_disk

_BLOCK = 1 << 20
# The longest header of a tar: a name, or attributes. The format allows any size, and Python reads one as a whole.
_LONGEST_HEADER = 1 << 20
_MAX_MEMBERS = 2_000_000
# Compressed volumes and images hardly shrink any further; text shrinks by a factor of 100 at most.
_MAX_EXPANSION = 200
_ALWAYS_ALLOWED_BYTES = 1 << 30
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    LookupError,
    ValueError,
    NotImplementedError,
    OverflowError,
    RecursionError,
)


@dataclass(frozen=True)
class Unpacked:
    """The result of unpacking an archive."""

    folder: Path
    n_files: int
    n_bytes: int


@dataclass(frozen=True)
class _Member:
    path: PurePosixPath
    is_folder: bool
    n_bytes: int
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path) -> Unpacked:
    """Unpacks an archive into `folder`, completely or not at all.

    If the archive has a single top folder with the name of `folder`, that level is dropped. File modes and owners are
    dropped too.

    Args:
        archive: a zip, tar, tar.gz, tar.bz2 or tar.xz file.
        folder: the folder to create; it must not exist.

    Raises:
        DataError: a path leads outside, a member is a link or a device, the archive is damaged or encrypted, or
            `folder` exists.
        ResourceError: the archive expands implausibly, or the disk is too small.
    """
    if folder.exists():
        raise DataError(f"{folder} already exists", remedy="Move it away to unpack again.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    with _explain_damage(archive), _open_members(archive) as members:
        n_bytes = _check_expansion(archive, members)
        check_disk_space(folder.parent, n_bytes, f"the contents of {archive.name}")
        prefix = f".{folder.name}.unpack-{os.getpid()}-"
        temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
        try:
            with explain_full_disk(folder):
                for member in members:
                    _write_member(member, temporary)
            content = _content_of(temporary, folder.name)
            content.chmod(0o755)
            content.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return Unpacked(folder, sum(not member.is_folder for member in members), n_bytes)


@contextmanager
def _open_members(archive: Path) -> Iterator[list[_Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            infos = [info for info in opened.infolist() if not _is_clutter(info.filename)]
            yield [_zip_member(opened, info, archive) for info in infos]
    else:
        with (
            _decompress(archive) as content,
            _TarStream(content, archive) as stream,
            _open_tar(stream, archive) as opened,
        ):
            members = _tar_members(opened, archive)
            stream.check_end(opened.offset)
            yield members


def _open_tar(stream: _TarStream, archive: Path) -> tarfile.TarFile:
    """Opens a tar, which reads its first header."""
    try:
        return tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:")
    except _LongHeaderError:
        raise
    except tarfile.TarError:
        raise DataError(f"{archive} is not a zip or tar archive", remedy="Download it again.") from None


def _decompress(archive: Path) -> IO[bytes]:
    """Opens the content of a tar by its first bytes, as its name may be wrong."""
    with archive.open("rb") as stream:
        head = stream.read(6)
    if head.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(archive))
    if head.startswith(b"BZh"):
        return cast(IO[bytes], bz2.open(archive))
    if head.startswith((b"\xfd7zXZ\0", b"]\0\0")):
        return cast(IO[bytes], lzma.open(archive))
    return archive.open("rb")


class _LongHeaderError(tarfile.ReadError):
    """A header of a tar is longer than any name or attribute."""


class _TarStream(io.RawIOBase):
    """The content of a tar, decompressed, within the limits for its size and that of a header.

    Raises:
        ResourceError: something asks for a place behind the limit, which nothing has decompressed yet.
        _LongHeaderError: a header is too long.
    """

    def __init__(self, content: IO[bytes], archive: Path):
        super().__init__()
        self._content, self._archive = content, archive

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True; seeking back decompresses from the start."""
        return True

    def tell(self) -> int:
        """The place in the decompressed content."""
        return self._content.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Goes to a place, counted from the start."""
        _check_expanded_size(self._archive, offset, 0)
        return self._content.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        """Reads up to `size` bytes; files are read in blocks, so a longer request comes from a header."""
        if not 0 <= size <= _LONGEST_HEADER:
            raise _LongHeaderError(f"a header of {size:,} bytes, more than {_LONGEST_HEADER:,}")
        content = self._content.read(size)
        _check_expanded_size(self._archive, self._content.tell(), 0)
        return content

    def check_end(self, offset: int) -> None:
        """Checks what follows the last member at `offset`, to the end: only there a compression proves its checksum.

        Raises:
            tarfile.ReadError: something other than zeros follows, so that a damaged header was taken for the end; or
                nothing follows in an uncompressed tar, which may have been cut between two members.
        """
        self.seek(offset)
        end = self.read(tarfile.BLOCKSIZE)
        if end.strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {offset:,}, where one should be")
        if len(end) < tarfile.BLOCKSIZE and isinstance(self._content, io.BufferedReader):
            raise tarfile.ReadError(f"no block of zeros at byte {offset:,}, which closes a tar that is complete")
        while self.read(_BLOCK):
            pass


def _zip_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, archive: Path) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(archive, info.filename, "a link or a device")
    if info.flag_bits & 1:
        raise _refused(archive, info.filename, "an encrypted file")
    path = _safe_path(archive, info.filename)
    return _Member(path, info.is_dir(), info.file_size, partial(opened.open, info))


def _tar_members(opened: tarfile.TarFile, archive: Path) -> list[_Member]:
    members: list[_Member] = []
    total = 0
    for number, info in enumerate(opened):
        if info.size < 0:
            raise tarfile.ReadError(f"{info.name} has a negative size")
        total += info.size  # what is skipped is decompressed too
        _check_expanded_size(archive, total, number)
        if _is_clutter(info.name):
            continue
        if not (info.isfile() or info.isdir()):
            raise _refused(archive, info.name, "a link or a device")
        path = _safe_path(archive, info.name)
        members.append(_Member(path, info.isdir(), info.size, partial(_open_tar_member, opened, info)))
    return members


def _open_tar_member(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = opened.extractfile(info)
    if stream is None:  # only for links and devices, which are rejected
        raise tarfile.ReadError(f"{info.name} has no content")
    return stream


def _is_clutter(name: str) -> bool:
    return name.startswith("__MACOSX/") or PurePosixPath(name).name == ".DS_Store"


def _safe_path(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    drive = path.parts and path.parts[0].endswith(":")
    if path.is_absolute() or ".." in path.parts or drive or "\0" in name:
        raise _refused(archive, name, "a path that leads outside the folder")
    return path


def _refused(archive: Path, name: str, what: str) -> DataError:
    return DataError(
        f"{archive.name} is rejected, nothing was unpacked",
        received=f"{name!r}, {what}",
        expected="plain files and folders below one folder",
        remedy="Do not use this archive; get it from its official address.",
    )


def _check_expansion(archive: Path, members: list[_Member]) -> int:
    total = sum(member.n_bytes for member in members)
    _check_expanded_size(archive, total, len(members))
    return total


def _check_expanded_size(archive: Path, total_bytes: int, n_members: int) -> None:
    most = max(_ALWAYS_ALLOWED_BYTES, archive.stat().st_size * _MAX_EXPANSION)
    if total_bytes > most or n_members > _MAX_MEMBERS:
        raise ResourceError(
            f"{archive.name} is rejected because it expands to an implausible size",
            received=f"{total_bytes / 1e9:.1f} GB in {n_members} files from {archive.stat().st_size / 1e6:.1f} MB",
            expected=f"at most {most / 1e9:.1f} GB",
            remedy="Do not use this archive; get it from its official address.",
        )


def _write_member(member: _Member, root: Path) -> None:
    target = root / member.path
    if member.is_folder:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    left = member.n_bytes
    with member.open() as source, open(target, "wb") as stream:
        while block := source.read(min(_BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                raise zipfile.BadZipFile(f"{member.path} is larger than declared")
            stream.write(block)
    if left:
        raise EOFError(f"{member.path} ends {left} bytes early")


def _content_of(temporary: Path, name: str) -> Path:
    top = list(temporary.iterdir())
    return top[0] if len(top) == 1 and top[0].is_dir() and top[0].name == name else temporary


def _remove_leftovers(folder: Path) -> None:
    # A killed process leaves its temporary folder, whose name contains the process id.
    for leftover in folder.parent.glob(f".{folder.name}.unpack-*"):
        owner = leftover.name.removeprefix(f".{folder.name}.unpack-").split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def _explain_damage(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(archive, error) from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _refused(archive, str(error.filename), "one name for a file and for a folder") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise _refused(archive, f"{str(error.filename)[-60:]}", "a name that is too long") from None
        if error.errno not in (None, errno.EINVAL):  # None: invalid gzip or bz2 data; EINVAL: an invalid offset
            raise
        raise _damaged(archive, error) from None


def _damaged(archive: Path, error: Exception) -> DataError:
    return DataError(
        f"{archive.name} is truncated or damaged, nothing was unpacked",
        received=str(error) or type(error).__name__,
        remedy="Download it again.",
    )
