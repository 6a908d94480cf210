"""A params folder for tests."""

from __future__ import annotations

import shutil

import pytest

from helpers.params import resolve as resolving
from helpers.params import targets as targeting
from helpers.params.paths import PARAMS_FOLDER
from tests.params.lamp import TARGET


@pytest.fixture
def params_folder(tmp_path, monkeypatch):
    """The shipped targets, one more, and a recipe with two profiles."""
    folder = tmp_path / "params"
    (folder / "lamp").mkdir(parents=True)
    shutil.copytree(PARAMS_FOLDER / "targets", folder / "targets")
    (folder / "targets" / "desk.yaml").write_text(TARGET, encoding="utf-8")
    (folder / "lamp" / "demo.yaml").write_text("target: desk\nbatch_size: 4\n", encoding="utf-8")
    (folder / "lamp" / "plain.yaml").write_text("profile: plain\n", encoding="utf-8")
    for module in (resolving, targeting):
        monkeypatch.setattr(module, "PARAMS_FOLDER", folder)
    return folder
