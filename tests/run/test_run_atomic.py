"""Files are complete or absent, equal content gives equal bytes, and a full disk is one clear error."""

from __future__ import annotations

import errno
import json
import os
import platform
import subprocess
import sys

import pytest

from helpers.errors import ResourceError
from helpers.params.paths import PROJECT_ROOT
from helpers.run import atomic
from helpers.run.atomic import atomic_path, copy_file, explain_full_disk, remove_leftovers, write_json


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
    path.write_text("old", encoding="utf-8")
    with atomic_path(path) as temporary:
        temporary.write_text("ne", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
        temporary.write_text("new", encoding="utf-8")
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


def test_a_file_and_its_folder_are_flushed_around_the_rename(tmp_path, monkeypatch):
    done, real_sync, real_replace = [], os.fsync, os.replace

    def fsync(handle):
        path = os.readlink(f"/proc/self/fd/{handle}")
        done.append("folder" if os.path.isdir(path) else "file")
        real_sync(handle)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    monkeypatch.setattr(atomic.os, "replace", lambda *names: done.append("rename") or real_replace(*names))
    write_json(tmp_path / "run.json", {"a": 1})
    assert done == ["file", "rename", "folder"]


def test_the_limit_for_the_size_of_a_file_is_one_clear_error(tmp_path):
    program = (
        "import resource, sys, pathlib; from helpers.run.atomic import write_json;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "write_json(pathlib.Path(sys.argv[1]), list(range(10000)))"
    )
    path = tmp_path / "run.json"
    path.write_text("old", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, cwd=PROJECT_ROOT
    )
    assert "ResourceError: the limit for the size of a file was reached while writing" in done.stderr
    assert path.read_text(encoding="utf-8") == "old" and _names(tmp_path) == ["run.json"]


@pytest.mark.parametrize("deep", [True, False])
def test_leftovers_of_killed_processes_are_removed_and_no_others(tmp_path, deep):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "below").mkdir()
    node = platform.node()
    gone = [f".part-{node}-{dead.pid}-x.json", f".work-{node}-{dead.pid}-y"]
    kept = [f".part-{node}-{os.getpid()}-x", f".part-other-{dead.pid}-x", ".part-abc", "run.json", f".part-{node}--x"]
    for name in (*gone, *kept, f"below/{gone[0]}"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, deep=deep)
    assert _names(tmp_path) == sorted(["below", *kept])
    assert _names(tmp_path / "below") == ([] if deep else [gone[0]])
    remove_leftovers(tmp_path / "missing")


def test_another_disk_error_is_not_changed(tmp_path):
    with pytest.raises(PermissionError), explain_full_disk(tmp_path):
        raise PermissionError(errno.EACCES, "denied")
