"""A bundle from elsewhere reads and writes nothing outside of its folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.devices.open import RuntimeTarget, open_device
from helpers.errors import CookbookError, DataError
from helpers.interop.bundle import Bundle, BundleCase, read_bundle, save_array
from helpers.interop.ports import ModelPorts


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    """A bundle of one prepared case."""
    folder = tmp_path / "bundle"
    save_array(folder / "cases" / "0000.npy", np.zeros((1, 4, 4, 4), np.float32))
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "compiled").mkdir()
    ports = ModelPorts("x", "y", (1, 4, 4, 4), (2, 4, 4, 4))
    made = Bundle(folder, "tiny", {}, {}, ports, (BundleCase("case_1", "cases/0000.npy", None, "0"),))
    made.with_files("model.onnx", "cases/0000.npy").write()
    return read_bundle(folder)


def _replace(path: Path, target: Path) -> None:
    if path.is_dir():
        for each in path.iterdir():
            each.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


LINKS: dict[str, Callable[[Path, Path], None]] = {
    "a folder for answers elsewhere": lambda folder, outside: _replace(folder / "answers", outside),
    "a case elsewhere": lambda folder, outside: _replace(folder / "cases" / "0000.npy", outside / "secret.npy"),
    "a folder of cases elsewhere": lambda folder, outside: _replace(folder / "cases", outside),
    "a model elsewhere": lambda folder, outside: _replace(folder / "compiled", outside),
    "a manifest elsewhere": lambda folder, outside: (
        (outside / "bundle.json").write_bytes((folder / "bundle.json").read_bytes()),
        _replace(folder / "bundle.json", outside / "bundle.json"),
    ),
    "a tool's folder elsewhere": lambda folder, outside: _replace(folder / "device_tool", outside),
    "a link to nothing": lambda folder, outside: _replace(folder / "answers", outside / "missing"),
    "a link in the bundle": lambda folder, _: _replace(folder / "answers", folder / "cases"),
    "a relative link": lambda folder, _: _replace(folder / "answers", Path("../outside")),
}


@pytest.mark.parametrize("make", LINKS.values(), ids=LINKS)
def test_a_link_is_refused_before_anything_is_read_or_written(bundle, tmp_path, make):
    outside = tmp_path / "outside"
    outside.mkdir()
    np.save(outside / "secret.npy", np.ones(3))
    before = sorted(outside.iterdir())
    make(bundle.folder, outside)
    with pytest.raises(DataError, match="holds plain files only") as caught:
        read_bundle(bundle.folder)
    assert "cp -rL" in caught.value.line()
    assert [path for path in sorted(outside.iterdir()) if path.name != "bundle.json"] == before


def test_a_pipe_is_refused(bundle):
    os.mkfifo(bundle.folder / "answers")
    with pytest.raises(DataError, match="answers is a device, pipe or socket"):
        read_bundle(bundle.folder)


def test_a_bundle_reached_through_a_link_is_read(bundle, tmp_path):
    (tmp_path / "mine").symlink_to(bundle.folder)
    assert read_bundle(tmp_path / "mine").load("cases/0000.npy").shape == (1, 4, 4, 4)


@pytest.mark.parametrize("name", ["../outside/x", "/etc/passwd", "cases/../../x", "..", "answers/.."])
def test_a_name_that_leads_outside_is_refused(bundle, name):
    with pytest.raises(DataError, match="relative paths inside it"):
        bundle.path(name)


@pytest.mark.parametrize("runtime", ["../../evil", "evil", "a.b", "", "/tmp/evil", "openvino_session.py\0"])
def test_a_runtime_that_a_bundle_names_is_one_of_ours(bundle, tmp_path, runtime):
    (tmp_path / "evil_session.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    (bundle.folder / "compiled" / "m.xml").write_text("<net/>", encoding="utf-8")
    for python in (None, "/usr/bin/python3"):
        target = RuntimeTarget("cpu", runtime, "CPU", python=python)
        with pytest.raises(CookbookError):
            open_device(bundle.folder / "compiled" / "m.xml", target)
