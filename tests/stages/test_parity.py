"""Parity figures of hand-made outputs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from helpers.params.model import RunParams
from helpers.stages import parity
from helpers.stages.parity import check_parity, compare_outputs


def _scores(seed: int = 0, shape=(1, 3, 4, 5, 6)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_equal_outputs_agree_exactly():
    row = compare_outputs("same", [_scores()], [_scores()])
    assert (row.largest, row.mean, row.p999, row.flips, row.clear_flips, row.positions) == (0, 0, 0, 0, 0, 120)


def test_errors_are_fractions_of_the_references_range():
    want = np.linspace(0, 10, 200, dtype=np.float32).reshape(1, 2, 10, 10)
    got = want.copy()
    got[0, 0, 3, 3] += 1.0
    row = compare_outputs("one", [want], [got])
    assert row.largest == pytest.approx(0.1, rel=1e-5)
    assert row.mean == pytest.approx(0.1 / 200, rel=1e-5)


def test_the_worst_of_several_inputs_counts():
    want = [_scores(1), _scores(2)]
    got = [want[0], want[1] + 0.5]
    span = max(np.ptp(scores) for scores in want)
    assert compare_outputs("two", want, got).largest == pytest.approx(0.5 / span, rel=1e-4)


def test_a_flip_is_clear_only_above_the_margin():
    want = np.zeros((1, 2, 1, 1, 3), np.float32)
    want[0, 0, 0, 0] = [10.0, 0.005, 0.5]  # leads of class 0: the range is 10
    got = want.copy()
    got[0, 1, 0, 0] = [0.0, 0.1, 0.9]
    row = compare_outputs("flips", [want], [got], margin=1e-3)
    assert (row.flips, row.clear_flips, row.positions) == (2, 1, 3)


def test_one_class_flips_at_zero():
    want = np.array([[[[2.0, 0.001, -2.0]]]], np.float32)
    got = np.array([[[[-1.0, -0.001, -2.0]]]], np.float32)
    row = compare_outputs("binary", [want], [got], margin=1e-3)
    assert (row.flips, row.clear_flips) == (2, 1)


def test_every_region_flips_at_the_threshold_on_its_own():
    want = np.array([[[[2.0, 0.001, -2.0]], [[5.0, 5.0, 5.0]]]], np.float32)
    got = np.array([[[[2.0, -0.001, 1.0]], [[9.0, 9.0, 9.0]]]], np.float32)
    row = compare_outputs("regions", [want], [got], margin=1e-3, region_threshold=0.0)
    assert (row.flips, row.clear_flips, row.positions) == (2, 1, 6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["reference", "answer"])
def test_a_non_finite_value_counts_as_the_worst_error(bad, side):
    good, broken = _scores(), _scores()
    broken[0, 1, 2, 3, 4] = bad
    pair = ([broken], [good]) if side == "reference" else ([good], [broken])
    with np.errstate(invalid="ignore"):
        row = compare_outputs("nan", *pair)
    assert not row.largest <= 1e-4


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"device returned \(1, 2, 4, 5, 6\), the reference \(1, 3, 4, 5, 6\)"):
        compare_outputs("device", [_scores()], [_scores()[:, :2]])


def test_a_constant_reference_does_not_divide_by_zero():
    row = compare_outputs("flat", [np.zeros((1, 2, 3, 3), np.float32)], [np.zeros((1, 2, 3, 3), np.float32)])
    assert row.largest == 0


def test_every_callable_is_run_on_every_input():
    asked = []

    def call(batch):
        asked.append(batch.shape)
        return batch * 2

    rows = check_parity(lambda batch: batch * 2, {"a": call, "b": lambda x: x * 2 + 1e-3}, [_scores(1), _scores(2)])
    assert [row.name for row in rows] == ["a", "b"] and len(asked) == 2
    assert rows[0].largest == 0 < rows[1].largest < 1e-3


@pytest.mark.parametrize(
    "given, limits",
    [({}, (1e-4, 5e-3)), ({"device_tolerance": 0.02}, (1e-4, 0.02)), ({"parity_tolerance": 1e-3}, (1e-3, 5e-3))],
)
def test_the_device_s_limit_is_its_precision_s_unless_it_is_given(given, limits, monkeypatch):
    run = SimpleNamespace(params=RunParams(recipe="unet_carvana", precision="f16", **given))
    monkeypatch.setattr(parity, "running_precision", lambda run: "f16")
    assert (parity._tolerance(run, "exported"), parity._tolerance(run, "device")) == limits
