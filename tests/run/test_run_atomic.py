"""Files are complete or absent, equal content gives equal bytes, and a full disk is one clear error."""

from __future__ import annotations

import errno
import json
import os

import pytest

from helpers.errors import ResourceError
from helpers.run import atomic
from helpers.run.atomic import atomic_path, copy_file, explain_full_disk, write_json


def _names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_equal_content_gives_equal_bytes_in_any_order(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2.5], "a": {"z": None, "ä": "✓"}})
    write_json(tmp_path / "b.json", {"a": {"ä": "✓", "z": None}, "b": [1, 2.5]})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"b": [1, 2.5], "a": {"z": None, "ä": "✓"}}


def test_a_failed_write_leaves_only_the_old_file(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"old": 1}
    assert _names(tmp_path) == ["metrics.json"]


def test_an_interrupted_block_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "deep" / "mask.nii.gz") as temporary:
        temporary.write_bytes(b"half")
        assert temporary.name.endswith("mask.nii.gz")
        raise KeyboardInterrupt
    assert _names(tmp_path / "deep") == []


def test_a_partial_file_is_never_visible(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("ne")
        assert path.read_text(encoding="utf-8") == "old"
        temporary.write_text("new")
    assert path.read_text(encoding="utf-8") == "new"


def test_other_users_may_read_the_file(tmp_path):
    write_json(tmp_path / "x.json", {})
    assert (tmp_path / "x.json").stat().st_mode & 0o444 == 0o444


def test_copies_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"\x00" * 1000)
    copy_file(tmp_path / "a", tmp_path / "b" / "c")
    assert (tmp_path / "b" / "c").read_bytes() == b"\x00" * 1000


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_clear_error_and_leaves_no_partial_file(tmp_path, monkeypatch, number):
    (tmp_path / "source").write_bytes(b"x" * 100)
    (tmp_path / "target").write_bytes(b"old")

    def write_a_part(source, target):
        target.write_bytes(b"x" * 10)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic.shutil, "copyfile", write_a_part)
    with pytest.raises(ResourceError) as caught:
        copy_file(tmp_path / "source", tmp_path / "target")
    line = caught.value.line()
    assert "no disk space left while writing" in line and "target" in line and "outputs" in line
    assert "\n" not in line
    assert (tmp_path / "target").read_bytes() == b"old"
    assert _names(tmp_path) == ["source", "target"]


def test_a_disk_too_full_for_a_folder_gives_the_same_error(tmp_path, monkeypatch):
    def no_room(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.Path, "mkdir", no_room)
    with pytest.raises(ResourceError, match="no disk space left"):
        write_json(tmp_path / "x" / "run.json", {})


def test_another_disk_error_is_not_changed(tmp_path):
    with pytest.raises(PermissionError), explain_full_disk(tmp_path):
        raise PermissionError(errno.EACCES, "denied")
