"""`devices`: all, or chips by number, in a file's form and in papermill's."""

from __future__ import annotations

import pytest

from helpers import recipes
from helpers.devices.open import VENDOR_MODULES
from helpers.errors import ParameterError
from helpers.params.targets import load_target, target_names

RECIPE = recipes.load("unet3d_brats")
CHIPS = {"target": "ascend310p3", "precision": "f16"}


@pytest.mark.parametrize(
    ("given", "read"),
    [(None, None), ("all", "all"), ([0, 2], [0, 2]), ("0,2", [0, 2]), ("3", [3]), (3, [3]), (" 1, 0", [1, 0])],
)
def test_each_form_is_read(given, read):
    assert RECIPE.prepare_params(devices=given, **CHIPS).devices == read


@pytest.mark.parametrize("given", ["every", [], "", [0, 0], [-1], "0,-1", [0.5], True, {"a": 1}, ["all"]])
def test_anything_else_is_refused_in_one_line(given):
    with pytest.raises(ParameterError, match=r"invalid value of devices: .*all, or distinct device numbers"):
        RECIPE.prepare_params(devices=given)


def test_how_many_chips_work_does_not_make_another_run():
    assert RECIPE.prepare_params(devices="all", **CHIPS).short_hash() == RECIPE.prepare_params(**CHIPS).short_hash()


@pytest.mark.parametrize("name", target_names())
def test_only_a_target_of_numbered_chips_takes_it(name):
    target = load_target(name)
    assert target.has_numbered_chips == (target.runtime in VENDOR_MODULES)
    given = {
        "target": name,
        "devices": [0, 1],
        "precision": target.precisions[0],
        "atc": {"soc_version": "Ascend310P3"},
    }
    if target.has_numbered_chips:
        assert RECIPE.prepare_params(**given).devices == [0, 1]
        return
    with pytest.raises(ParameterError, match=f"target {name} has no numbered devices: received devices \\[0, 1\\]"):
        RECIPE.prepare_params(**given)
