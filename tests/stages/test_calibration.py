"""Calibration windows: of several cases, with foreground, the same in every process, not of the scored cases."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import stages
from helpers.errors import DataError
from helpers.stages.calibration import WINDOWS

SEEDS = {"calibration_seeds": [11, 12]}


@pytest.fixture
def start(tiny, tmp_path):
    def go(**given):
        recipe, run = stages.start_run("tiny", {"outputs": str(tmp_path), **SEEDS, **given})
        stages.prepare_data(recipe, run)
        return recipe, run

    return go


def _content(run) -> tuple[np.ndarray, list[str]]:
    with np.load(run.path(WINDOWS)) as content:
        return content["windows"], content["ids"].tolist()


def test_windows_of_every_case_with_their_places(start):
    recipe, run = start()
    result = stages.prepare_calibration(recipe, run)
    windows, ids = _content(run)
    assert windows.shape == (6, 1, 16, 16, 16) and windows.dtype == np.float32
    assert [name.split("[")[0] for name in ids] == ["case_11"] * 3 + ["case_12"] * 3
    assert result.values == {"ids": ids, "also_scored": []}
    case = recipe.cases.read_case(stages.calibration.calibration_cases(recipe, run)[0], run.params)
    z, y, x = map(int, ids[1].removesuffix("]").split("[")[1].split(":"))
    np.testing.assert_array_equal(windows[1, 0], case.image[0, z : z + 16, y : y + 16, x : x + 16])


def test_remade_it_has_the_same_bytes(start):
    recipe, run = start(cache=False)
    stages.prepare_calibration(recipe, run)
    before = run.path(WINDOWS).read_bytes()
    stages.prepare_calibration(recipe, run)
    assert run.path(WINDOWS).read_bytes() == before


def test_another_seed_draws_other_windows(start):
    first, second = start()[1], start(calibration_seed=1)[1]
    recipe = start()[0]
    for run in (first, second):
        stages.prepare_calibration(recipe, run)
    assert _content(first)[1] != _content(second)[1]
    assert first.folder != second.folder


def test_own_data_is_calibrated_with_cases_that_are_not_scored(start, tiny, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    tiny.module.RECIPE.cases.write_demo_cases(root, [1, 2, 3])
    recipe, run = start(data_root=str(root), cases=["case_2"])
    assert stages.prepare_calibration(recipe, run).values["also_scored"] == []
    assert {name.split("[")[0] for name in _content(run)[1]} == {"case_1", "case_3"}
    recipe, run = start(data_root=str(root))
    assert stages.prepare_calibration(recipe, run).values["also_scored"] == ["case_1", "case_2", "case_3"]
    with pytest.raises(DataError, match="no case 'case_9'"):  # by the data stage, before anything is exported
        start(data_root=str(root), calibration_cases="case_9")


def test_own_data_is_where_the_recipe_finds_it(start, tiny, tmp_path, monkeypatch):
    """nnU-Net's data set number names no folder."""
    root = tmp_path / "data"
    root.mkdir()
    tiny.module.RECIPE.cases.write_demo_cases(root, [1, 2])
    monkeypatch.setattr(tiny.module.TinyCases, "data_folder", lambda self, params: {"3": root}[params.data_root])
    recipe, run = start(data_root="3", cases=["case_1"])
    stages.prepare_calibration(recipe, run)
    assert {name.split("[")[0] for name in _content(run)[1]} == {"case_2"}


def test_with_amct_installed_its_command_and_files_are_there(start, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "amct_onnx"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    recipe, run = start()
    assert "for Ascend's AMCT" not in stages.prepare_calibration(recipe, run).facts
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    assert "--data_dir calibration/bins" in stages.prepare_calibration(recipe, run).facts["for Ascend's AMCT"]
    windows, _ = _content(run)
    files = sorted(run.path("calibration/bins").iterdir())
    assert len(files) == len(windows) == 6
    np.testing.assert_array_equal(np.fromfile(files[4], np.float32).reshape(windows[4].shape), windows[4])
