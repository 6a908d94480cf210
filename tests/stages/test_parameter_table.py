"""The table of the parameters that a run uses, in a notebook and in a log."""

from __future__ import annotations

import shlex

import pytest

from helpers import stages


@pytest.fixture
def started(tiny, tmp_path):
    given = {"outputs": str(tmp_path), "batch_size": 2, "minimum_scores": {"cube": 0.5}, "precision": None}
    recipe, run = stages.start_run("tiny", given)
    yield recipe, run
    run.record.end("passed")


def rows_of(shown) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in repr(shown).splitlines()]
    return {cells[0]: cells[1:] for cells in lines}


def test_each_value_has_its_origin_and_its_choices(started):
    rows = rows_of(stages.show_parameters(*started))
    assert rows["batch_size"][:2] == ["2", "you"]
    assert rows["checkpoint"][1] == rows["demo_seeds"][1] == "profile demo"
    assert rows["precision"][:2] == ["f32", "target cpu"] and "f32" in rows["precision"][2]
    assert rows["target"][0] == "cpu" and "ascend310" in rows["target"][2]
    assert "parity_tolerance" not in rows


def test_a_notebook_lists_the_others_too(started):
    page = stages.show_parameters(*started)._repr_html_()
    summary, _, rest = page.partition("<details>")
    assert "parity_tolerance" in rest and "parity_tolerance" not in summary and "batch_size" in summary


def test_the_command_starts_the_same_run(started):
    from helpers.cli.main import parse
    from helpers.cli.values import read_given

    recipe, run = started
    line = repr(stages.show_parameters(recipe, run)).splitlines()[-1]
    options = parse(shlex.split(line.removeprefix("same run: "))[1:])
    again = recipe.prepare_params(**read_given(options, recipe.params_model))
    assert again == run.params
