"""An archive is unpacked completely or not at all, and never outside its folder."""

from __future__ import annotations

import collections
import errno
import io
import os
import random
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from helpers.errors import DataError, ResourceError
from helpers.fetch import archive as archive_module
from helpers.fetch import download as disk
from helpers.fetch.archive import unpack

FILES = {"train/a.jpg": b"first", "train/deep/b.jpg": random.Random(1).randbytes(300_000), "train/empty": b""}


def make_zip(path: Path, files: dict[str, bytes], modes: dict[str, int] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o600) << 16
            opened.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as opened:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return path


def make_special(path: Path, kind: bytes, target: str = "", name: str = "train/link") -> Path:
    with tarfile.open(path, "w") as opened:
        plain = tarfile.TarInfo("train/a.jpg")
        plain.size = 5
        opened.addfile(plain, io.BytesIO(b"first"))
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        opened.addfile(info)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


MAKERS = {
    "zip": make_zip,
    "tar": make_tar,
    "tar.gz": lambda path, files: make_tar(path, files, "w:gz"),
    "tar.xz": lambda path, files: make_tar(path, files, "w:xz"),
    "tar.bz2": lambda path, files: make_tar(path, files, "w:bz2"),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_an_archive_is_unpacked_with_its_top_folder_not_repeated(kind, tmp_path):
    archive = MAKERS[kind](tmp_path / f"archive.{kind}", FILES)
    done = unpack(archive, tmp_path / "carvana" / "train")
    assert contents(done.folder) == {name.removeprefix("train/"): data for name, data in FILES.items()}
    assert (done.n_files, done.n_bytes) == (3, 300_005)
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name, "carvana"]
    assert sorted(path.name for path in (tmp_path / "carvana").iterdir()) == ["train"]
    assert stat.S_IMODE(done.folder.stat().st_mode) == 0o755


@pytest.mark.parametrize("kind", MAKERS)
def test_several_entries_at_the_top_stay_below_the_folder(kind, tmp_path):
    files = {"HGG/a/x": b"1", "LGG/b/y": b"2", "__MACOSX/HGG/._a": b"clutter", "HGG/.DS_Store": b"clutter"}
    archive = MAKERS[kind](tmp_path / f"archive.{kind}", files)
    unpack(archive, tmp_path / "brats")
    assert contents(tmp_path / "brats") == {"HGG/a/x": b"1", "LGG/b/y": b"2"}


ESCAPES = ["../evil", "train/../../evil", "{outside}/evil", "..\\evil", "C:\\evil", "\\evil", "train/..", "//evil"]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("kind", MAKERS)
def test_a_path_outside_is_refused_before_anything_is_written(kind, name, tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    files = {"train/a.jpg": b"first", name.format(outside=outside): b"evil"}
    archive = MAKERS[kind](outside / f"archive.{kind}", files)
    with pytest.raises(DataError, match=r"archive\..* is rejected, nothing was unpacked.*leads outside"):
        unpack(archive, inside / "data" / "train")
    assert contents(tmp_path) == {f"outside/{archive.name}": archive.read_bytes()}


SPECIALS = [
    (tarfile.SYMTYPE, "/etc"),
    (tarfile.SYMTYPE, "../../evil"),
    (tarfile.LNKTYPE, "/etc/hostname"),
    (tarfile.LNKTYPE, "train/a.jpg"),
    (tarfile.CHRTYPE, ""),
    (tarfile.BLKTYPE, ""),
    (tarfile.FIFOTYPE, ""),
]


@pytest.mark.parametrize("kind, target", SPECIALS)
def test_links_and_devices_of_a_tar_are_refused(kind, target, tmp_path):
    archive = make_special(tmp_path / "archive.tar", kind, target)
    with pytest.raises(DataError, match="'train/link', a link or a device"):
        unpack(archive, tmp_path / "train")
    assert not (tmp_path / "train").exists()


def test_a_link_of_a_zip_is_refused(tmp_path):
    files = {"train/link": b"/etc", "train/link/passwd": b"evil"}
    archive = make_zip(tmp_path / "archive.zip", files, {"train/link": stat.S_IFLNK | 0o777})
    with pytest.raises(DataError, match="'train/link', a link or a device"):
        unpack(archive, tmp_path / "train")
    assert not (tmp_path / "train").exists()


def test_an_encrypted_zip_is_refused(tmp_path):
    archive = make_zip(tmp_path / "archive.zip", {"a": b"1"})
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match="an encrypted file"):
        unpack(archive, tmp_path / "train")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_bomb_is_refused_by_its_declared_size(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(archive_module, "_ALWAYS_ALLOWED_BYTES", 1 << 20)
    archive = MAKERS[kind](tmp_path / f"archive.{kind}", {"zeros": bytes(8 << 20)})
    with pytest.raises(ResourceError, match="expands to an implausible size"):
        unpack(archive, tmp_path / "train")
    assert not (tmp_path / "train").exists()


def test_a_zip_with_a_false_size_is_refused(tmp_path):
    archive = make_zip(tmp_path / "archive.zip", {"a": bytes(100_000)})
    content = archive.read_bytes().replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    archive.write_bytes(content)
    with pytest.raises(DataError, match="truncated or damaged"):
        unpack(archive, tmp_path / "train")
    assert contents(tmp_path) == {"archive.zip": content}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_truncated_archive_leaves_nothing(kind, tmp_path):
    archive = MAKERS[kind](tmp_path / f"archive.{kind}", FILES)
    archive.write_bytes(archive.read_bytes()[:150_000])
    with pytest.raises(DataError, match=r"truncated or damaged|not a zip or tar archive"):
        unpack(archive, tmp_path / "train")
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name]


def test_damaged_bytes_of_a_zip_leave_nothing(tmp_path):
    archive = make_zip(tmp_path / "archive.zip", FILES)
    content = bytearray(archive.read_bytes())
    content[150_000] ^= 255
    archive.write_bytes(content)
    with pytest.raises(DataError, match="truncated or damaged"):
        unpack(archive, tmp_path / "train")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.zip"]


def test_one_name_for_a_file_and_a_folder_is_refused(tmp_path):
    archive = make_tar(tmp_path / "archive.tar", {"train/a": b"1", "train/a/b": b"2"})
    with pytest.raises(DataError, match="one name for a file and for a folder"):
        unpack(archive, tmp_path / "train")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.tar"]


def test_a_small_disk_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    archive = make_tar(tmp_path / "archive.tar", FILES)
    usage = collections.namedtuple("usage", "total used free")(1, 1, 100_000)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ResourceError, match=r"too small for the contents of archive\.tar"):
        unpack(archive, tmp_path / "train")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.tar"]


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, monkeypatch):
    archive = make_tar(tmp_path / "archive.tar", FILES)
    write = archive_module._write_member

    def fail_at_the_second(member, root):
        if "deep" in str(member.path):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(member, root)

    monkeypatch.setattr(archive_module, "_write_member", fail_at_the_second)
    with pytest.raises(ResourceError, match="no disk space left"):
        unpack(archive, tmp_path / "train")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.tar"]


def test_leftovers_of_a_killed_process_are_removed_and_those_of_a_running_one_kept(tmp_path):
    dead, alive = tmp_path / ".train.unpack-999999999-x", tmp_path / f".train.unpack-{os.getpid()}-x"
    dead.mkdir()
    alive.mkdir()
    unpack(make_tar(tmp_path / "archive.tar", FILES), tmp_path / "train")
    assert not dead.exists() and alive.exists()


def test_a_folder_that_exists_is_not_touched(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine").write_bytes(b"mine")
    with pytest.raises(DataError, match="already exists"):
        unpack(make_tar(tmp_path / "archive.tar", FILES), tmp_path / "train")
    assert contents(tmp_path / "train") == {"mine": b"mine"}


def test_a_file_that_is_not_an_archive_is_named(tmp_path):
    path = tmp_path / "train.zip"
    path.write_bytes(b"<html>" * 100)
    with pytest.raises(DataError, match=r"train\.zip is not a zip or tar archive"):
        unpack(path, tmp_path / "train")
