"""The cache finds only complete, unchanged entries."""

from __future__ import annotations

import errno
import json
import os
import platform
import subprocess
import sys

import pytest

from helpers.errors import ResourceError
from helpers.run.digest import digest_file, digest_value
from helpers.run.store import Store, place_files

KEY = "k" * 64


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / ".store")


def _keep(store: Store, key: str = KEY, text: str = "one", **result):
    with store.working_folder() as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "a.txt").write_text(text, encoding="utf-8")
        (folder / "b.bin").write_bytes(b"\x00\x01")
        return store.keep(key, folder, {"values": result})


def _loose(store: Store) -> list[str]:
    return [path.name for path in store.root.iterdir() if path.name.startswith(".work-")]


def test_finds_an_entry_with_its_digests(store):
    kept = _keep(store, score=0.5)
    found = store.find(KEY)
    assert found == kept
    assert found.result == {"values": {"score": 0.5}}
    assert sorted(found.files) == ["b.bin", "deep/a.txt"]
    assert found.files["deep/a.txt"] == digest_file(store.root / KEY / "deep" / "a.txt")
    assert _loose(store) == []


def test_another_key_is_not_found(store):
    _keep(store)
    assert store.find("z" * 64) is None


def test_a_folder_without_entry_json_is_not_found(store):
    _keep(store)
    (store.root / KEY / "entry.json").unlink()
    assert store.find(KEY) is None


@pytest.mark.parametrize("content", ["", '{"result": {', "[]", "{}", '{"files": {}}', "null"])
def test_a_damaged_entry_json_is_not_found(store, content):
    _keep(store)
    (store.root / KEY / "entry.json").write_text(content, encoding="utf-8")
    assert store.find(KEY) is None


def test_an_entry_with_a_changed_file_is_not_found(store):
    _keep(store)
    (store.root / KEY / "deep" / "a.txt").write_text("two", encoding="utf-8")
    assert store.find(KEY) is None


def test_an_entry_with_a_missing_file_is_not_found(store):
    _keep(store)
    (store.root / KEY / "b.bin").unlink()
    assert store.find(KEY) is None


def test_keeping_again_replaces(store):
    _keep(store, text="one")
    _keep(store, text="two")
    assert (store.find(KEY).folder / "deep" / "a.txt").read_text(encoding="utf-8") == "two"


def test_a_failure_stores_nothing(store):
    with pytest.raises(ValueError), store.working_folder() as folder:
        (folder / "half").write_text("x", encoding="utf-8")
        raise ValueError
    assert list(store.root.iterdir()) == []


def test_two_processes_may_store_the_same_key(store, monkeypatch):
    """Another process stores the same key between the removal of the old folder and the rename."""
    other = Store(store.root)
    real, raced = os.replace, []

    def replace(source, target):
        if str(target).endswith(KEY) and not raced:
            raced.append(target)
            _keep(other, text="theirs")
        return real(source, target)

    monkeypatch.setattr("helpers.run.store.os.replace", replace)
    _keep(store, text="ours")
    assert raced
    assert (store.find(KEY).folder / "deep" / "a.txt").read_text(encoding="utf-8") in ("ours", "theirs")
    assert _loose(store) == []


def test_a_forgotten_entry_is_not_found(store):
    _keep(store)
    store.forget(KEY)
    store.forget(KEY)
    assert store.find(KEY) is None


def test_files_are_copied_into_the_run(store, tmp_path):
    place_files(_keep(store), tmp_path / "run")
    assert (tmp_path / "run" / "deep" / "a.txt").read_text(encoding="utf-8") == "one"
    assert not (tmp_path / "run" / "entry.json").exists()


def test_a_full_disk_in_a_stage_is_one_clear_error_and_leaves_nothing(store):
    with pytest.raises(ResourceError, match="no disk space left"), store.working_folder() as folder:
        (folder / "half").write_text("x", encoding="utf-8")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(store.root.iterdir()) == []


def test_a_disk_too_full_for_a_working_folder_gives_the_same_error(store, monkeypatch):
    def no_room(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("helpers.run.atomic.tempfile.mkdtemp", no_room)
    with pytest.raises(ResourceError, match="no disk space left"), store.working_folder():
        pass


class TestDigests:
    def test_of_a_file_is_sha256(self, tmp_path):
        (tmp_path / "x").write_bytes(b"abc")
        # The test vector of FIPS 180-2.
        assert digest_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

    def test_of_equal_values_are_equal(self):
        assert digest_value({"a": 1, "b": (1, 2)}) == digest_value({"b": [1, 2], "a": 1})
        assert digest_value({"a": 1}) != digest_value({"a": 2})
        assert digest_value({"a": 1}) != digest_value({"a": "1"})


def test_entry_json_has_sorted_keys(store):
    _keep(store, b=1, a=2)
    text = (store.root / KEY / "entry.json").read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def test_working_folders_of_killed_processes_are_removed(store):
    _keep(store)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (dead.pid, os.getpid()):
        (store.root / f".work-{platform.node()}-{pid}-abc").mkdir()
    _keep(store, "m" * 64)
    assert _loose(store) == [f".work-{platform.node()}-{os.getpid()}-abc"]
