"""Compressed voxels: their length and checksum are checked, and no more is read than the header declares."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from helpers.data.formats import stored
from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import DataError
from tests.data.small_volumes import grid, voxels

SIZE = (20, 30, 40)
VOXELS = np.random.default_rng(0).integers(0, 50, SIZE).astype(np.int16)


def files(folder: Path, kind: str) -> tuple[Path, Path, int]:
    """A compressed volume: its header's file, the file of its stream, and where the stream begins."""
    volume = Volume(VOXELS, Geometry.identity(SIZE))
    if kind in (".nii.gz", ".mha", ".nrrd"):
        path = write_volume(folder / f"v{kind}", volume)
        mark = {".nii.gz": b"", ".mha": b"LOCAL\n", ".nrrd": b"\n\n"}[kind]
        return path, path, path.read_bytes().index(mark) + len(mark)
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(VOXELS)
    path = folder / f"v{kind}"
    sitk.WriteImage(image, str(path), useCompression=True)
    second = next(found for found in folder.iterdir() if found != path)
    return path, second, 0


KINDS = (".nii.gz", ".mha", ".nrrd", ".mhd", ".nhdr")


@pytest.mark.parametrize("kind", KINDS)
def test_zeroed_bytes_anywhere_in_the_stream_are_found(tmp_path, kind):
    path, stream, start = files(tmp_path, kind)
    assert np.array_equal(read_volume(path).array[0], VOXELS)
    content = stream.read_bytes()
    for first in range(start + 20, len(content) - 40, (len(content) - start) // 25):
        stream.write_bytes(content[:first] + bytes(32) + content[first + 32 :])
        with pytest.raises(DataError, match=r"damaged|data behind"):
            read_volume(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [1, 4, 8, 500])
def test_a_stream_without_its_end_is_truncated(tmp_path, kind, cut):
    path, stream, _ = files(tmp_path, kind)
    stream.write_bytes(stream.read_bytes()[:-cut])
    with pytest.raises(DataError, match="truncated"):
        read_volume(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", [b"\0", b"garbage", gzip.compress(b"more")])
def test_what_follows_the_stream_is_refused(tmp_path, kind, more):
    path, stream, _ = files(tmp_path, kind)
    stream.write_bytes(stream.read_bytes() + more)
    with pytest.raises(DataError, match="data behind its last voxel"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii", ".mhd", ".nhdr"])
def test_what_follows_plain_voxels_is_refused(tmp_path, suffix):
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(tmp_path / f"v{suffix}"))
    stream = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    stream.write_bytes(stream.read_bytes() + b"\0")
    with pytest.raises(DataError, match="data behind its last voxel"):
        read_volume(tmp_path / f"v{suffix}")


@pytest.mark.parametrize(
    ("pack", "checksum"),
    [
        (lambda content: gzip.compress(content)[:-8] + bytes(4) + gzip.compress(content)[-4:], "gzip"),
        (lambda content: gzip.compress(content)[:-4] + bytes(4), "gzip"),
        (lambda content: bz2.compress(content)[:-5] + bytes(5), "bzip2"),
    ],
    ids=["CRC of gzip", "length of gzip", "CRC of bzip2"],
)
def test_each_checksum_is_checked(tmp_path, pack, checksum):
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 40 30 20\nspacings: 1 1 1\nendian: little\n"
        f"encoding: {checksum}\n\n"
    )
    (tmp_path / "v.nrrd").write_bytes(header.encode() + pack(VOXELS.tobytes()))
    with pytest.raises(DataError, match="damaged"):
        read_volume(tmp_path / "v.nrrd")


def test_the_checksum_of_zlib_is_checked(tmp_path):
    path, _, start = files(tmp_path, ".mha")
    content = path.read_bytes()
    assert zlib.decompress(content[start:]) == VOXELS.tobytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match="incorrect data check"):
        read_volume(path)


def expanded_bytes(monkeypatch) -> list[int]:
    """Counts what is decompressed."""
    counts: list[int] = []
    original = stored._Expander.next_bytes

    def counted(self, count):
        part = original(self, count)
        counts.append(len(part))
        return part

    monkeypatch.setattr(stored._Expander, "next_bytes", counted)
    return counts


@pytest.mark.parametrize("own_member", [False, True])
def test_a_bomb_behind_the_voxels_is_not_expanded(tmp_path, monkeypatch, own_member):
    content = (write_volume(tmp_path / "v.nii", Volume(VOXELS, Geometry.identity(SIZE)))).read_bytes()
    bomb = bytes(60_000_000)
    packed = gzip.compress(content) + gzip.compress(bomb) if own_member else gzip.compress(content + bomb)
    (tmp_path / "v.nii.gz").write_bytes(packed)
    counts = expanded_bytes(monkeypatch)
    with pytest.raises(DataError, match="data behind its last voxel"):
        read_volume(tmp_path / "v.nii.gz")
    assert sum(counts) == len(content) + 1


def test_a_long_tail_is_not_read(tmp_path, monkeypatch):
    path = write_volume(tmp_path / "v.nii.gz", Volume(VOXELS, Geometry.identity(SIZE)))
    os.truncate(path, 3 << 30)  # zeros that take no space on the disk
    counts = expanded_bytes(monkeypatch)
    with pytest.raises(DataError, match="data behind its last voxel"):
        read_volume(path)
    assert sum(counts) <= 352  # the header


def test_many_empty_members_are_refused(tmp_path):
    content = (write_volume(tmp_path / "v.nii", Volume(VOXELS, Geometry.identity(SIZE)))).read_bytes()
    (tmp_path / "v.nii.gz").write_bytes(gzip.compress(content) + gzip.compress(b"") * 1000)
    with pytest.raises(DataError, match="empty members"):
        read_volume(tmp_path / "v.nii.gz")


def test_a_header_that_declares_more_than_its_file_can_hold_takes_no_memory(tmp_path, monkeypatch):
    path = write_volume(tmp_path / "v.nrrd", Volume(voxels(), grid()))
    path.write_bytes(path.read_bytes().replace(b"sizes: 6 5 4", b"sizes: 60000 50000 40000"))
    monkeypatch.setattr(np, "empty", None)  # nothing may be allocated
    with pytest.raises(DataError, match="truncated"):
        read_volume(path)
