"""Archives that are made to harm: bombs in headers and in what is skipped, false checksums, endless headers."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.errors import CookbookError, DataError, ResourceError
from helpers.fetch import archive as archive_module
from helpers.fetch.archive import unpack

PLAIN = {"train/a.jpg": b"first", "train/b.jpg": random.Random(1).randbytes(1_200_000)}
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": lambda content: gzip.compress(content, 1),
    "tar.bz2": lambda content: bz2.compress(content, 1),
    "tar.xz": lambda content: lzma.compress(content, preset=0),
}


def header(name: bytes, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header of a tar, 512 bytes."""
    info = tarfile.TarInfo(name.decode())
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(content: bytes) -> bytes:
    """Content filled up to whole blocks of 512 bytes."""
    return content + bytes(-len(content) % 512)


def pax_record(name: str, value: str) -> bytes:
    """A record of a pax header: its own length, the name and the value."""
    body = f" {name}={value}\n".encode()
    length = len(body) + len(str(len(body)))
    length = len(body) + len(str(length))
    return str(length).encode() + body


SMALL = {"train/a.jpg": b"first", "train/b.jpg": b"second"}


def plain_tar(files: dict[str, bytes] = SMALL, end: bytes = bytes(1024)) -> bytes:
    """A tar of files."""
    return b"".join(header(name.encode(), len(data)) + padded(data) for name, data in files.items()) + end


def header_bomb(kind: bytes, size: int) -> bytes:
    """A header whose own content, a name or attributes, is `size` zeros."""
    return header(b"././@LongLink", size, kind) + padded(bytes(size)) + plain_tar()


def skipped_bomb(name: bytes, size: int) -> bytes:
    """A member that is not unpacked, of `size` zeros."""
    return header(name, size) + padded(bytes(size)) + plain_tar()


def refuse(tmp_path: Path, content: bytes, kind: str, error: type[CookbookError], match: str) -> None:
    """Asserts that an archive is refused in one line and leaves nothing."""
    path = tmp_path / f"archive.{kind}"
    path.write_bytes(COMPRESS[kind](content))
    with pytest.raises(error, match=match) as caught:
        unpack(path, tmp_path / "data" / "train")
    assert "\n" not in caught.value.line()
    assert list((tmp_path / "data").iterdir()) == []


HEADERS = {"GNU long name": b"L", "GNU long link": b"K", "pax": b"x", "global pax": b"g", "Solaris pax": b"X"}


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("header_type", HEADERS.values(), ids=HEADERS)
def test_a_bomb_in_a_header_is_refused(tmp_path, kind, header_type):
    refuse(tmp_path, header_bomb(header_type, 3 << 20), kind, DataError, "a header of 3,145,[0-9]+ bytes")


def test_a_bomb_in_a_header_takes_no_memory(tmp_path):
    content = io.BytesIO()
    with gzip.GzipFile(fileobj=content, mode="wb", compresslevel=9) as stream:
        stream.write(header(b"././@LongLink", 60 << 20, b"L"))
        for _ in range(60):
            stream.write(bytes(1 << 20))
    (tmp_path / "archive.tar.gz").write_bytes(content.getvalue())
    tracemalloc.start()
    with pytest.raises(DataError, match="a header of"):
        unpack(tmp_path / "archive.tar.gz", tmp_path / "train")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(content.getvalue()) < 1 << 20 and peak < 10 << 20


@pytest.mark.parametrize("name", [b"__MACOSX/._a", b"train/.DS_Store"])
@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz"])
def test_a_bomb_in_what_is_skipped_is_refused_before_it_is_decompressed(tmp_path, monkeypatch, kind, name):
    monkeypatch.setattr(archive_module, "_ALWAYS_ALLOWED_BYTES", 4 << 20)
    refuse(tmp_path, skipped_bomb(name, 16 << 20), kind, ResourceError, "expands to an implausible size")


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz"])
def test_a_bomb_behind_the_end_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(archive_module, "_ALWAYS_ALLOWED_BYTES", 4 << 20)
    content = plain_tar({"train/a": b"1"}) + bytes(16 << 20)
    refuse(tmp_path, content, kind, ResourceError, "expands to an implausible size")


def test_many_small_headers_before_one_file_are_refused(tmp_path):
    content = header(b"././@LongLink", 10, b"L") + padded(b"train/a\0\0\0")
    refuse(tmp_path, content * 5000 + plain_tar(), "tar.gz", DataError, "truncated or damaged")


@pytest.mark.parametrize("size", ["-512", "-1000000", "9" * 5000, "1e9", "nan"])
def test_a_false_size_in_a_pax_header_is_refused(tmp_path, size):
    record = pax_record("size", size)
    content = header(b"PaxHeaders/a", len(record), b"x") + padded(record) + plain_tar()
    refuse(tmp_path, content, "tar", CookbookError, "truncated or damaged|implausible size")


def test_a_sparse_file_that_claims_a_terabyte_is_refused(tmp_path):
    records = pax_record("GNU.sparse.major", "0") + pax_record("GNU.sparse.minor", "1")
    records += pax_record("GNU.sparse.map", "0,1") + pax_record("GNU.sparse.size", str(1 << 40))
    content = header(b"PaxHeaders/a", len(records), b"x") + padded(records) + plain_tar()
    refuse(tmp_path, content, "tar", ResourceError, "expands to an implausible size")


@pytest.mark.parametrize("field", ["checksum", "length"])
def test_a_gzip_with_a_false_checksum_or_length_is_refused(tmp_path, field):
    content = bytearray(gzip.compress(plain_tar()))
    content[-8 if field == "checksum" else -4] ^= 1
    (tmp_path / "archive.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match="truncated or damaged"):
        unpack(tmp_path / "archive.tar.gz", tmp_path / "train")
    assert [path.name for path in tmp_path.iterdir()] == ["archive.tar.gz"]


@pytest.mark.parametrize("kind", ["tar.bz2", "tar.xz"])
@pytest.mark.parametrize("place", [-20, -12, -8])
def test_a_damaged_end_of_another_compression_is_refused(tmp_path, kind, place):
    content = bytearray(COMPRESS[kind](plain_tar()))
    content[place] ^= 0xFF
    (tmp_path / f"archive.{kind}").write_bytes(content)
    with pytest.raises(DataError, match="truncated or damaged"):
        unpack(tmp_path / f"archive.{kind}", tmp_path / "train")


@pytest.mark.parametrize("cut", [1, 4, 8, 9, 100])
def test_a_gzip_that_lacks_its_last_bytes_is_refused(tmp_path, cut):
    (tmp_path / "archive.tar.gz").write_bytes(gzip.compress(plain_tar())[:-cut])
    with pytest.raises(DataError, match="truncated or damaged"):
        unpack(tmp_path / "archive.tar.gz", tmp_path / "train")


def test_a_name_that_is_too_long_is_refused(tmp_path):
    refuse(tmp_path, _gnu_tar("train/" + "x" * 300), "tar", DataError, "a name that is too long")


def test_a_tree_that_is_too_deep_is_refused(tmp_path):
    refuse(tmp_path, _gnu_tar("train/" + "d/" * 3000 + "a"), "tar", DataError, "a name that is too long")


@pytest.mark.parametrize("damage", [b"\xff" * 512, b"\0" * 100 + b"x" * 412])
def test_a_damaged_header_is_not_taken_for_the_end(tmp_path, damage):
    content = bytearray(plain_tar())
    content[1024:1536] = damage  # the header of the second file
    refuse(tmp_path, bytes(content), "tar", DataError, "no header at byte 1,024, where one should be")


@pytest.mark.parametrize("kind", [kind for kind in COMPRESS if kind != "tar"])
def test_a_compressed_tar_without_its_last_zeros_is_unpacked(tmp_path, kind):
    (tmp_path / "archive").write_bytes(COMPRESS[kind](plain_tar(end=b"")))
    assert unpack(tmp_path / "archive", tmp_path / "train").n_files == 2


@pytest.mark.parametrize("length", [1024, 2048])
def test_a_tar_that_is_cut_between_two_files_is_refused(tmp_path, length):
    refuse(tmp_path, plain_tar()[:length], "tar", DataError, f"no block of zeros at byte {length:,}")


def _gnu_tar(name: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.GNU_FORMAT) as opened:
        opened.addfile(tarfile.TarInfo(name))
    return content.getvalue()


@pytest.mark.parametrize("kind", COMPRESS)
def test_an_honest_archive_with_long_names_and_attributes_is_unpacked(tmp_path, kind):
    name = "train/" + "/".join(["a folder with a long name " + "x" * 100] * 3) + "/b.jpg"
    content = io.BytesIO()
    for tar_format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=tar_format) as opened:
            for each, data in {**PLAIN, name: b"deep"}.items():
                info = tarfile.TarInfo(each)
                info.size = len(data)
                if tar_format == tarfile.PAX_FORMAT:
                    info.pax_headers = {"comment": "x" * 5000, "SCHILY.xattr.user.note": "y"}
                opened.addfile(info, io.BytesIO(data))
        path = tmp_path / f"{tar_format}.{kind}"
        path.write_bytes(COMPRESS[kind](content.getvalue()))
        done = unpack(path, tmp_path / str(tar_format) / "train")
        assert (done.folder / "b.jpg").read_bytes() == PLAIN["train/b.jpg"]
        assert (tmp_path / str(tar_format) / name).read_bytes() == b"deep"


def test_a_gzip_of_several_parts_is_unpacked(tmp_path):
    content = plain_tar()
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(gzip.compress(content[:1000]) + gzip.compress(content[1000:]))
    assert unpack(path, tmp_path / "train").n_files == 2


def test_a_tar_whose_name_claims_another_compression_is_unpacked(tmp_path):
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(lzma.compress(plain_tar(), preset=0))
    assert unpack(path, tmp_path / "train").n_files == 2


def test_mutations_of_archives_are_unpacked_or_refused_in_one_line(tmp_path):
    draw = random.Random(7)
    outcomes = {"unpacked": 0, "refused": 0}
    small = plain_tar({"train/a": b"1" * 700, "train/b": b"2" * 300})
    for index in range(200):
        kind = draw.choice(list(COMPRESS))
        content = bytearray(small) if draw.random() < 0.5 else bytearray(COMPRESS[kind](small))
        for _ in range(draw.randint(1, 4)):
            content[draw.randrange(len(content))] = draw.choice((0, 255, draw.randrange(256)))
        path = tmp_path / f"{index}.tar"
        path.write_bytes(content)
        try:
            unpack(path, tmp_path / f"{index}" / "train")
            outcomes["unpacked"] += 1
        except CookbookError as error:
            assert "\n" not in error.line()
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 10
