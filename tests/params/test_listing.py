"""The list of parameters: every field with its type, value in the demo, and meaning."""

from __future__ import annotations

import pytest
import yaml

from helpers import cli, recipes
from helpers.params.listing import list_parameters

PARAMS = {name: recipes.load(name).prepare_params(profile="demo") for name in recipes.recipe_names()}


def _rows(recipe_name: str) -> dict[str, tuple[str, str, str]]:
    header, *rows = list_parameters(PARAMS[recipe_name], "demo")
    assert header == ("parameter", "type", "demo", "meaning")
    return {name: tuple(rest) for name, *rest in rows}


@pytest.mark.parametrize("recipe_name", PARAMS)
def test_every_field_has_a_meaning(recipe_name):
    for name, field in type(PARAMS[recipe_name]).model_fields.items():
        assert field.description and field.description.endswith("."), name
        assert "\n" not in field.description, name


@pytest.mark.parametrize("recipe_name", PARAMS)
def test_every_value_can_be_given_on_a_command_line(recipe_name):
    params, rows = PARAMS[recipe_name], _rows(recipe_name)
    assert list(rows) == list(type(params).model_fields)
    for name, (_, shown, _) in rows.items():
        value = getattr(params, name)
        if isinstance(value, str):
            assert shown == value
        elif name not in ("atc", "builder_config"):
            assert yaml.safe_load(shown) == value, name


def test_types_and_choices_are_those_of_the_model():
    heart, brats = _rows("nnunet_heart"), _rows("unet3d_brats")
    assert [
        heart[name][0] for name in ("cases", "batch_size", "tile_step_size", "cache", "atc", "minimum_scores")
    ] == [
        "list of str",
        "int",
        "float",
        "bool",
        "dict",
        "dict",
    ]
    assert heart["devices"][0] == "str or list of int" and heart["fold"][0] == "int or str"
    assert heart["variant"][0] == "str" and heart["variant"][2].endswith("Choices: 2d, 3d.")
    assert brats["mirror_axes"][0] == "list of int" and brats["mirror_axes"][2].endswith("Choices: 0, 1, 2.")
    assert "Choices" not in heart["devices"][2]


def test_a_section_shows_only_what_was_set():
    params = recipes.load("unet3d_brats").prepare_params(
        target="ascend310p3", precision="f16", atc={"f16_input": True}
    )
    rows = {name: value for name, _, value, _ in list_parameters(params, "value")}
    assert rows["atc"] == "{f16_input: true}" and rows["builder_config"] == "{}"


def test_the_command_writes_a_table(capsys):
    assert cli.main(["params", "unet3d_brats"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    column = header.index("meaning")
    assert len(lines) == len(type(PARAMS["unet3d_brats"]).model_fields)
    assert all(line[column - 2 : column] == "  " and line[column] != " " for line in lines)


def test_the_command_refuses_an_unknown_recipe(capsys):
    assert cli.main(["params", "unet3d_brat"]) == 2
    assert "Did you mean 'unet3d_brats'?" in capsys.readouterr().err
