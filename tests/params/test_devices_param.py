"""The parameter `devices`: all, or device numbers, from a file and from papermill."""

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
def test_any_other_value_is_one_clear_error(given):
    with pytest.raises(ParameterError, match=r"invalid value of devices: .*all, or distinct device numbers"):
        RECIPE.prepare_params(devices=given)


def test_the_number_of_devices_does_not_change_the_run():
    assert RECIPE.prepare_params(devices="all", **CHIPS).short_hash() == RECIPE.prepare_params(**CHIPS).short_hash()


@pytest.mark.parametrize("name", target_names())
def test_only_targets_with_numbered_devices_accept_it(name):
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
