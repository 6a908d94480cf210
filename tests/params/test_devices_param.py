"""`devices`: all, or chips by number, in a file's form and in papermill's."""

from __future__ import annotations

import pytest

from helpers import recipes
from helpers.errors import ParameterError

RECIPE = recipes.load("unet3d_brats")


@pytest.mark.parametrize(
    ("given", "read"),
    [(None, None), ("all", "all"), ([0, 2], [0, 2]), ("0,2", [0, 2]), ("3", [3]), (3, [3]), (" 1, 0", [1, 0])],
)
def test_each_form_is_read(given, read):
    assert RECIPE.prepare_params(devices=given).devices == read


@pytest.mark.parametrize("given", ["every", [], "", [0, 0], [-1], "0,-1", [0.5], True, {"a": 1}, ["all"]])
def test_anything_else_is_refused_in_one_line(given):
    with pytest.raises(ParameterError, match=r"wrong value of devices: .*all, or different numbers"):
        RECIPE.prepare_params(devices=given)


def test_how_many_chips_work_does_not_make_another_run():
    assert RECIPE.prepare_params(devices="all").short_hash() == RECIPE.prepare_params().short_hash()
