"""The type of a parameter determines how its text is read, from a command line and from `papermill -p`."""

from __future__ import annotations

import argparse
import datetime
from typing import Literal

import pytest
from papermill.cli import _resolve_type

from helpers import recipes
from helpers.cli.values import add_parameter_arguments, read_given
from helpers.errors import ParameterError
from helpers.params.yaml_file import read_text, takes_text


@pytest.mark.parametrize(
    "kind", [str, str | None, list[str], list[str] | None, Literal["a", "b"], Literal["a"] | None, list[Literal["a"]]]
)
def test_types_that_are_text(kind):
    assert takes_text(kind)


@pytest.mark.parametrize(
    "kind", [int, bool, float, int | str, list[int], Literal[1, 2], Literal["all"] | list[int], dict[str, str], None]
)
def test_types_that_are_not_text(kind):
    assert not takes_text(kind)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (list[str], " a, b,,c ", ["a", "b", "c"]),
        (list[str], "[2007_000033, '0001', on, 2020-01-01]", ["2007_000033", "0001", "on", "2020-01-01"]),
        (list[int], "1,4", [1, 4]),
        (list[int] | None, "[1, 4]", [1, 4]),
        (list[int], 4, [4]),
        (list[Literal[0, 1]], "0", [0]),
        (dict[str, float] | None, "{WT: 0.8}", {"WT": 0.8}),
        (bool, "off", False),
        (bool | None, "On", True),
        (bool, "FALSE", False),
    ],
)
def test_text_is_converted_to_the_type(kind, text, value):
    assert read_text(kind, text) == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [(str, "0001"), (int, "four"), (list[int], True), (list[str], 3), (bool, "maybe"), (int | str, 3)],
)
def test_other_values_are_left_to_the_type(kind, value):
    assert read_text(kind, value) is value


def _prepare(recipe_name: str, *words: str):
    parser = argparse.ArgumentParser()
    add_parameter_arguments(parser)
    recipe = recipes.load(recipe_name)
    return recipe.params_model(recipe=recipe_name, **read_given(parser.parse_args(words), recipe.params_model))


class TestCommandLine:
    def test_names_that_look_like_numbers_stay_text(self):
        assert _prepare("fcn_voc2012", "-p", "cases", "2007_000033").cases == ["2007_000033"]
        assert _prepare("fcn_voc2012", "-p", "cases", "0001,2").cases == ["0001", "2"]
        assert _prepare("fcn_voc2012", "-p", "cases", "[0001, 1e3]").cases == ["0001", "1e3"]

    def test_a_data_set_of_nnunet_may_be_a_number(self):
        params = _prepare("unetpp3d_liver", "-p", "checkpoint", "Dataset003_Liver", "-p", "data_root", "3")
        assert (params.checkpoint, params.data_root) == ("Dataset003_Liver", "3")

    def test_numbers_switches_and_lists_are_read(self):
        words = (
            "-p batch_size 2 -p tile_step_size 0.25 -p cache off -p window 64,64,32 -p demo_seeds 9001 -p devices 0,1"
        )
        params = _prepare("unet3d_brats", *words.split())
        assert (params.batch_size, params.tile_step_size, params.cache) == (2, 0.25, False)
        assert (params.window, params.demo_seeds, params.devices) == ([64, 64, 32], [9001], [0, 1])

    def test_a_fold_is_a_number_or_a_word(self):
        assert _prepare("nnunet_heart", "-p", "fold", "2").fold == 2
        assert _prepare("nnunet_heart", "-p", "fold", "all", "-p", "folds", "0,1").folds == [0, 1]

    def test_null_selects_the_default_of_text_as_well(self):
        parser = argparse.ArgumentParser()
        add_parameter_arguments(parser)
        options = parser.parse_args(["-p", "data_root", "null", "-p", "batch_size", "null"])
        model = recipes.load("unet3d_brats").params_model
        assert read_given(options, model) == {"data_root": None, "batch_size": None}


class TestPapermill:
    """`papermill -p` converts what looks like a number before the cookbook sees the text."""

    def _given(self, recipe_name: str, **words: str):
        given = {name: _resolve_type(text) for name, text in words.items()}
        return recipes.load(recipe_name).params_model(recipe=recipe_name, **given)

    def test_the_number_of_a_data_set(self):
        assert _resolve_type("3") == 3
        params = self._given("unetpp3d_liver", data_root="3", checkpoint="003")
        assert (params.data_root, params.checkpoint) == ("3", "3")

    def test_lists(self):
        params = self._given(
            "unet3d_brats", cases="a, b", window="[64, 64, 32]", batch_gears="1,4", demo_seeds="9001"
        )
        assert (params.cases, params.window) == (["a", "b"], [64, 64, 32])
        assert (params.batch_gears, params.demo_seeds) == ([1, 4], [9001])

    @pytest.mark.parametrize("value", [_resolve_type("2007_000033"), [1], True, datetime.date(2020, 1, 1)])
    def test_the_remedy_for_lost_text_says_what_to_write(self, value):
        with pytest.raises(ParameterError, match=r"quote it in YAML, or use papermill -r cases TEXT\."):
            recipes.load("fcn_voc2012").prepare_params(cases=value)

    def test_a_number_for_another_recipes_path(self):
        with pytest.raises(ParameterError, match="or use papermill -r data_root TEXT"):
            recipes.load("unet3d_brats").prepare_params(data_root=3)
