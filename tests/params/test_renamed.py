"""A renamed parameter is read under its old name, from every source, with one line that gives the new one."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest

from helpers import recipes, stages
from helpers.errors import ParameterError
from helpers.params import renamed
from helpers.params.renamed import rename_parameters
from helpers.qa.finished import drop_none


@pytest.fixture(autouse=True)
def not_warned_yet():
    renamed._warn.cache_clear()


@pytest.fixture
def brats():
    return recipes.load("unet3d_brats")


def test_the_old_name_sets_the_parameter_and_is_reported_once(brats, caplog):
    with caplog.at_level(logging.WARNING, "cookbook"):
        assert brats.prepare_params(step=0.25).tile_step_size == 0.25
        assert brats.prepare_params(step=0.75).tile_step_size == 0.75
    assert [record.message for record in caplog.records] == ["the parameter step is now called tile_step_size"]


def test_both_names_together_are_refused(brats):
    with pytest.raises(ParameterError, match="step and tile_step_size are the same parameter"):
        brats.prepare_params(step=0.25, tile_step_size=0.5)


def test_a_value_given_for_the_run_overrides_the_old_name_in_a_profile(brats, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "demo.yaml").write_text("step: 0.25\n", encoding="utf-8")
    mine = replace(brats, name="mine", params_folder=tmp_path)
    assert mine.prepare_params().tile_step_size == 0.25
    assert mine.prepare_params(tile_step_size=1.0).tile_step_size == 1.0


def test_a_record_of_an_earlier_version_is_read(brats):
    params = brats.prepare_params(tile_step_size=0.25).model_dump(mode="json")
    for old, new in renamed.RENAMED.items():
        params[old] = params.pop(new)
    assert brats.params_model.model_validate_json(json.dumps(drop_none(params))).tile_step_size == 0.25


@pytest.mark.parametrize("interactive", [False, True])
def test_a_notebook_takes_the_old_name(tmp_path, monkeypatch, interactive):
    monkeypatch.setattr("helpers.stages.start.is_interactive", lambda: interactive)
    _, run = stages.start_run("unet3d_brats", {"step": 0.25, "outputs": str(tmp_path)})
    run.record.end("passed")
    assert run.params.tile_step_size == 0.25


def test_a_recipe_without_the_parameter_does_not_know_its_old_name():
    assert rename_parameters({"step": 0.5}, ["size"]) == {"step": 0.5}
    with pytest.raises(ParameterError, match="unknown parameter 'step'"):
        recipes.load("unet_carvana").prepare_params(step=0.5)


def test_a_variable_of_a_notebook_whose_recipe_never_had_the_parameter_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.stages.start.is_interactive", lambda: True)
    _, run = stages.start_run("unet_carvana", {"step": 3, "outputs": str(tmp_path)})
    run.record.end("passed")
