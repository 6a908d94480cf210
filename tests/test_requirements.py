"""Versions are pinned in one place and are those installed; no file names a package registry."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SKIPPED = {
    ".git",
    ".venv",
    "outputs",
    "__pycache__",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".hypothesis",
    "build",
}
BINARY = {".png", ".jpg", ".gif", ".safetensors", ".npz", ".npy", ".gz", ".onnx", ".pyc"}
# Spelled in two halves, so that this file does not hold what it looks for.
REGISTRIES = [
    first + second
    for first, second in (
        ("py", "pi.org"),
        ("pythonhosted", ".org"),
        ("pypi.", "tuna"),
        ("anaconda", ".org"),
        ("anaconda", ".com"),
        ("download.pytorch", ".org"),
        ("registry.npmjs", ".org"),
        ("index-", "url"),
        ("extra-", "index"),
        ("find-", "links"),
        ("trusted-", "host"),
    )
]


def _requirements(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [text for line in lines if (text := line.partition("#")[0].strip())]


PIN_FILES = (
    "requirements.txt",
    "requirements-test.txt",
    "requirements-peers.txt",
    "requirements-itkwidgets.txt",
    "requirements-ray.txt",
)


@pytest.mark.parametrize("name", PIN_FILES)
def test_every_requirement_is_pinned_to_one_version(name):
    for line in _requirements(name):
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][0-9a-z.]*", line), line


def test_no_package_is_pinned_twice():
    names = [line.partition("==")[0].lower() for name in PIN_FILES for line in _requirements(name)]
    assert len(names) == len(set(names))


def test_the_peers_are_installed_as_pinned_so_that_no_comparison_is_skipped():
    from importlib import metadata

    pins = dict(line.split("==") for line in _requirements("requirements-peers.txt"))
    assert {name: metadata.version(name) for name in pins} == pins
    assert not {"torch", "torchvision", "numpy"} & set(pins)  # installed without dependencies: no other build comes


def test_torch_has_no_local_tag():
    torch = [line for line in _requirements("requirements.txt") if line.startswith("torch==")]
    assert torch and "+" not in torch[0]


def test_every_pin_has_its_reason():
    for name in PIN_FILES:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if "==" in line and "# " not in line]


def test_the_conda_environment_is_python_and_the_same_pins():
    content = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    plain = [entry for entry in content["dependencies"] if isinstance(entry, str)]
    assert sorted(re.split("[=<>]", entry)[0] for entry in plain) == ["pip", "python"]
    (nested,) = [entry for entry in content["dependencies"] if not isinstance(entry, str)]
    assert nested == {"pip": ["-r requirements.txt", "-e ."]}


def test_the_project_reads_its_dependencies_from_the_requirements_files():
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {"dependencies", "optional-dependencies"} <= set(content["project"]["dynamic"])
    hook = content["tool"]["hatch"]["metadata"]["hooks"]["requirements_txt"]
    extras = {name for (name,) in hook["optional-dependencies"].values()}
    assert {*hook["files"], *extras} == set(PIN_FILES) - {"requirements-peers.txt"}


def _text_files() -> list[Path]:
    found = []
    for path in ROOT.rglob("*"):
        inside = path.relative_to(ROOT).parts
        skipped = SKIPPED & set(inside) or inside[0].startswith(".venv")
        if path.is_file() and not skipped and path.suffix not in BINARY:
            found.append(path)
    return found


def test_no_file_names_a_package_registry():
    files = _text_files()
    assert ROOT / "requirements.txt" in files and ROOT / "Makefile" in files
    hits = []
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace").lower()
        hits += [f"{path.relative_to(ROOT)}: {name}" for name in REGISTRIES if name in text]
    assert not hits


@pytest.mark.parametrize("name", ["torch", "numpy", "onnxruntime", "openvino", "papermill"])
def test_what_is_installed_is_what_is_pinned(name: str):
    from importlib import metadata

    pins = dict(line.split("==") for line in _requirements("requirements.txt") if ";" not in line)
    assert metadata.version(name).split("+")[0] == pins[name]
