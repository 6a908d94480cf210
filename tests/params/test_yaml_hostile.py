"""YAML that no parameter file should hold: refused in one line, quickly, whatever it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from helpers import recipes
from helpers.errors import ParameterError
from helpers.params.yaml_file import parse_yaml, read_yaml_mapping

BOMB = "cases:\n- &a0 [" + "x," * 9 + "]\n" + "".join(f"- &a{i} [" + f"*a{i - 1}," * 9 + "]\n" for i in range(1, 12))
HOSTILE = {
    "size: 2024-99-99": "line 1: '2024-99-99' reads as timestamp and is none; quote it if it is text",
    'a: 1\nsize: !!int ""': "line 2: '' reads as int and is none",
    "size: !!int x": "'x' reads as int and is none",
    "size: !!float x": "'x' reads as float and is none",
    "size: !!bool x": "'x' reads as bool and is none",
    "size: !!timestamp x": "'x' reads as timestamp and is none",
    "size: " + "9" * 5000: "5000 characters",
    "size: " + "[" * 5000: "nested too deeply",
    "size: " + "[" * 5000 + "]" * 5000: "nested too deeply",
    BOMB: "stands for more than 100,000 values",
    "cases: &a [*a]": "stands for more than 100,000 values",
    "scores: &a {WT: *a}": "stands for more than 100,000 values",
    "? [a]\n: 1": "unhashable key",
    "a: !!python/object/apply:os.system ['true']": "could not determine a constructor",
    "a: 1\na: 2": "line 2: a is given twice",
    "a: {b: 1, b: 2}": "b is given twice",
    "a: \0": "unacceptable character",
    "# " + "x" * 1_000_000: "is not a file of parameters",
}


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_file_is_refused_in_one_line(text, tmp_path):
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ParameterError, match=HOSTILE[text]) as caught:
        read_yaml_mapping(tmp_path / "mine.yaml")
    assert "mine.yaml" in caught.value.line() and len(caught.value.line()) < 300


def test_aliases_and_merges_stay_allowed():
    text = "a: &scores {WT: 0.8}\nb: *scores\nc: {<<: *scores, TC: 0.7}"
    assert parse_yaml(text) == {"a": {"WT": 0.8}, "b": {"WT": 0.8}, "c": {"WT": 0.8, "TC": 0.7}}


def test_every_file_of_the_project_reads_as_yaml_does():
    for path in Path(__file__).resolve().parents[2].glob("params/**/*.yaml"):
        assert read_yaml_mapping(path) == (yaml.safe_load(path.read_text(encoding="utf-8")) or {}), path


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_tolerance_that_passes_everything_is_refused(value):
    with pytest.raises(ParameterError, match="parity_tolerance"):
        recipes.load("unet_carvana").prepare_params(parity_tolerance=value)


def test_a_long_value_is_shortened_in_the_message():
    with pytest.raises(ParameterError, match="invalid value of batch_size") as caught:
        recipes.load("unet_carvana").prepare_params(batch_size=["x" * 100] * 1000)
    assert len(caught.value.line()) < 400


def test_an_unknown_grey_window_is_refused_with_the_parameters():
    with pytest.raises(ParameterError, match=r"unknown grey window 'ct_livr'\. Did you mean 'ct_liver'"):
        recipes.load("unet_carvana").prepare_params(grey_window="ct_livr")
