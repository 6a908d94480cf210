"""Grey windows: the presets of the params folder, percentiles without air, invalid entries."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.errors import ParameterError
from helpers.view import windows
from helpers.view.windows import GreyWindow, load_window, percentile_limits


def test_grey_limits_leave_out_air_and_outliers():
    channel = np.zeros((10, 10, 10), np.float32)
    channel[:5] = np.linspace(100, 200, 500).reshape(5, 10, 10)
    channel[0, 0, 0] = 1e6
    low, high = percentile_limits(channel)
    assert 100 <= low <= 102 and 198 <= high <= 200
    assert percentile_limits(np.zeros((2, 2, 2))) == (0.0, 1.0)
    low, high = percentile_limits(np.full((2, 2, 2), 7.0))
    assert high > low


@pytest.mark.parametrize(
    ("name", "limits"),
    [("ct_abdomen", (-125, 225)), ("ct_liver", (-45, 105)), ("ct_lung", (-1000, 0)), ("ct_brain", (0, 80))],
)
def test_ct_presets_are_the_usual_clinical_windows(name, limits):
    window = load_window(name)
    assert window.limits(np.zeros(3)) == window.fixed_limits() == limits
    assert "width" in window.caption(np.zeros(3)) and "CT" in window.caption(np.zeros(3))


def test_the_window_of_every_recipe_exists():
    from helpers import recipes

    for name in recipes.recipe_names():
        recipe = recipes.load(name)
        load_window(recipe.picture_settings(recipe.prepare_params()).grey_window)


def test_the_caption_of_an_mr_window_gives_its_grey_limits():
    channel = np.linspace(1, 1001, 1001)
    assert load_window("mr").fixed_limits() is None
    assert load_window("mr").caption(channel) == "MR: grey 6 to 996"


def test_an_unknown_window_suggests_the_nearest():
    with pytest.raises(ParameterError, match="Did you mean 'ct_liver'"):
        load_window("ct_lvier")


@pytest.mark.parametrize("entry", ["{title: x}", "{title: x, width: 3}", "{title: x, width: 0, level: 1}", "7"])
def test_an_invalid_entry_is_named(tmp_path, monkeypatch, entry):
    (tmp_path / "windows.yaml").write_text(f"mine: {entry}\n", encoding="utf-8")
    monkeypatch.setattr(windows, "PARAMS_FOLDER", tmp_path)
    with pytest.raises(ParameterError, match=r"windows.yaml: mine"):
        load_window("mine")


def test_a_window_is_either_fixed_or_percentiles():
    with pytest.raises(ValueError, match="either"):
        GreyWindow(title="x", width=1, level=1, percentiles=(0, 100))
