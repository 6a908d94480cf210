"""Examples come as wheels through pip, are checked, and end as a model with its card."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from helpers.fetch import fetch
from helpers.fetch import package as package_module
from helpers.fetch.catalogue import load_catalogue
from tests.graph.test_frozen_graph import u_net

DIST_INFO = {
    "METADATA": "Metadata-Version: 2.1\nName: tiny-brain\nVersion: 1.0\n",
    "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "RECORD": "",
}
WHEEL = "tiny_brain-1.0-py3-none-any.whl"


@pytest.fixture
def wheels(tmp_path) -> Path:
    """A folder that pip finds a wheel in, as in a registry."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        archive.writestr("tiny_brain/graph.pb", u_net())
        archive.writestr(
            "tiny_brain-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-brain\nVersion: 1.0\n"
        )
        archive.writestr(
            "tiny_brain-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_brain-1.0.dist-info/RECORD", "")
    return folder


@pytest.fixture
def catalogue(tmp_path, wheels, monkeypatch):
    """A catalogue with one example; pip looks in the folder alone."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    digest = hashlib.sha256((wheels / WHEEL).read_bytes()).hexdigest()
    item = {
        "name": "tiny", "kind": "weights", "title": "t", "url": None, "folder": "wheel", "licence": "MIT",
        "layout": "l",
        "package": {"name": "tiny-brain", "version": "1.0"}, "file": WHEEL, "sha256": digest, "digest_note": "noted",
    }  # fmt: skip
    disk = {"download_gb": 1.0, "unpacked_gb": 1.0, "our_run_gb": 1.0, "basis": "b", "source_pipeline": "s"}
    conversion = {
        "source": "wheel/tiny_brain/graph.pb",
        "target": "net.onnx",
        "output": "prob",
        "shape": [None, 8, 8, 8, 2],
    }
    example = {
        "disk": disk,
        "items": [item],
        "conversion": conversion,
        "card": "own_model/cards/brain_extraction.yaml",
    }
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "recipes": {}, "examples": {"tiny": example}}), encoding="utf-8")
    return path


def test_a_relative_folder_is_that_of_the_caller(tmp_path, catalogue, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = fetch("tiny", destination=Path("data"), catalogue=catalogue)
    assert report.ok, str(report)
    assert list((tmp_path / "data").rglob("net.onnx"))


def test_an_example_is_downloaded_checked_unpacked_and_converted(tmp_path, catalogue):
    report = fetch("tiny", destination=tmp_path / "data", catalogue=catalogue)
    assert report.ok, str(report)
    assert [item.name for item in report.items] == ["tiny", "model", "card"]
    assert {"net.onnx", "card.yaml", "wheel"} <= {path.name for path in (tmp_path / "data").iterdir()}
    (tmp_path / "data" / "card.yaml").write_text("mine", encoding="utf-8")
    assert fetch("tiny", destination=tmp_path / "data", catalogue=catalogue).ok
    assert (tmp_path / "data" / "card.yaml").read_text(encoding="utf-8") == "mine"


def test_another_wheel_than_expected_is_not_kept(tmp_path, catalogue):
    content = yaml.safe_load(catalogue.read_text(encoding="utf-8"))
    content["examples"]["tiny"]["items"][0]["sha256"] = "0" * 64
    catalogue.write_text(yaml.safe_dump(content), encoding="utf-8")
    report = fetch("tiny", destination=tmp_path / "data", catalogue=catalogue)
    assert not report.ok and "is not the expected file" in str(report)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_package_that_pip_does_not_find_is_one_line(tmp_path, catalogue, wheels):
    (wheels / WHEEL).unlink()
    report = fetch("tiny", destination=tmp_path / "data", catalogue=catalogue)
    assert "cannot get the package tiny-brain 1.0: received ERROR: No matching distribution" in str(report)


def test_pip_is_started_without_a_shell_and_installs_nothing(tmp_path, catalogue, monkeypatch):
    seen = []
    run = package_module.subprocess.run

    def record(command, **more):
        seen.append(command)
        return run(command, **more)

    monkeypatch.setattr(package_module.subprocess, "run", record)
    fetch("tiny", destination=tmp_path / "data", catalogue=catalogue)
    assert seen[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary", ":all:"} <= set(seen[0])


def test_the_examples_are_pinned_by_digest_and_have_a_licence():
    examples = load_catalogue().examples
    assert set(examples) == {"brain_extraction", "u2net"}
    for sources in examples.values():
        assert all(item.package and item.sha256 and item.licence for item in sources.items)
