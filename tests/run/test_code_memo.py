"""What the code reaches is remembered between processes, and never beyond an edit."""

from __future__ import annotations

import importlib
import os
import sys

import pytest

from helpers.run import code
from helpers.run.code import CodeIndex
from helpers.run.code_memo import _digest_sources


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `kiosk` whose `sell` refers to `price`."""
    folder = tmp_path / "sources" / "kiosk"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("", encoding="utf-8")
    (folder / "till.py").write_text(
        "from kiosk.price import price\n\n\ndef sell():\n    return price()\n", encoding="utf-8"
    )
    (folder / "price.py").write_text("import json\n\n\ndef price():\n    return 11\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder.parent))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "kiosk"]:
        del sys.modules[name]


def digest(package, memo) -> code.CodeDigest:
    """As another process finds it."""
    _digest_sources.cache_clear()
    sell = importlib.import_module("kiosk.till").sell
    return CodeIndex(package.parent, "kiosk").digest((sell,), memo)


def test_a_second_process_parses_nothing_and_gets_the_same(package, tmp_path, monkeypatch):
    first = digest(package, tmp_path / "memo")
    monkeypatch.setattr(code, "SourceModule", None)
    assert digest(package, tmp_path / "memo") == first
    with pytest.raises(TypeError):
        digest(package, tmp_path / "elsewhere")


def test_an_edit_under_the_old_time_stamp_is_noticed(package, tmp_path):
    first, path = digest(package, tmp_path / "memo"), package / "price.py"
    before = path.stat()
    path.write_text(path.read_text(encoding="utf-8").replace("11", "12"), encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digest(package, tmp_path / "memo").digest != first.digest
    assert len(list((tmp_path / "memo").iterdir())) == 1


def test_code_outside_the_package_is_always_read(package, tmp_path):
    own = package.parent / "own_scale.py"
    own.write_text("STEP = 1\n", encoding="utf-8")
    (package / "price.py").write_text(
        "import own_scale\n\n\ndef price():\n    return own_scale.STEP\n", encoding="utf-8"
    )
    first = digest(package, tmp_path / "memo")
    own.write_text("STEP = 2\n", encoding="utf-8")
    assert digest(package, tmp_path / "memo").digest != first.digest


def test_a_damaged_memo_counts_as_empty(package, tmp_path):
    first = digest(package, tmp_path / "memo")
    (path,) = (tmp_path / "memo").iterdir()
    for content in ("{", "[]", '{"x": 1}'):
        path.write_text(content, encoding="utf-8")
        assert digest(package, tmp_path / "memo") == first
