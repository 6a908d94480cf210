"""Two runs are compared case by case: signed ranks, adjusted for their number, and the cases that decide."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from helpers.scoring.paired import adjust_for_number, compare_pairs, mean_ranks


def _runs(differences) -> tuple[dict[str, float], dict[str, float]]:
    before = {f"case{index}": 0.5 for index in range(len(differences))}
    return before, {case: 0.5 + change for case, change in zip(before, differences, strict=True)}


def test_p_is_that_of_all_signs():
    """The share of the ways to give the ranks signs that are at least as far from even as the ranks seen."""
    differences = [0.01, 0.03, -0.02, 0.08, 0.05, 0.13, -0.04]
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    seen = abs((ranks * np.sign(differences)).sum())
    sums = [abs((ranks * signs).sum()) for signs in itertools.product((-1, 1), repeat=7)]
    assert compare_pairs(*_runs(differences), "larger").p == pytest.approx(np.mean(np.array(sums) >= seen))


def test_too_few_cases_that_differ_have_no_p():
    assert compare_pairs(*_runs([0.1] * 4 + [0.0] * 9), "larger").p is None
    assert compare_pairs(*_runs([0.1, 0.2, 0.3, 0.4, 0.5]), "larger").p == pytest.approx(2 / 2**5)


def test_less_is_better_for_distances_and_the_size_counts_for_volumes():
    before, after = _runs([-0.1, -0.2, 0.1])
    assert [compare_pairs(before, after, "smaller").better, compare_pairs(before, after, "larger").better] == [2, 1]
    volumes = compare_pairs({"a": -5.0, "b": 1.0, "c": 2.0}, {"a": 4.0, "b": -3.0, "c": -2.0}, "nearer to 0")
    assert (volumes.better, volumes.equal, volumes.worse) == (1, 1, 1)


def test_the_fewest_deciding_cases_are_named():
    test = compare_pairs(*_runs([0.5, -0.1, -0.1, 0.05, 0.02]), "larger")
    assert test.turned_by == ("case0",)
    assert compare_pairs(*_runs([0.1] * 5), "larger").turned_by == tuple(f"case{index}" for index in range(5))
    assert compare_pairs(*_runs([0.1, -0.1]), "larger").turned_by == ()
    worse = compare_pairs(*_runs([0.1, 0.1, -0.5, -0.01]), "larger")
    assert worse.turned_by == ("case2",)


def test_rounding_of_sums_is_no_difference():
    test = compare_pairs({"a": 0.1 + 0.2}, {"a": 0.3}, "larger")
    assert (test.better, test.equal, test.worse) == (0, 1, 0)


def test_adjusted_values_grow_with_their_number_and_stay_in_order():
    assert adjust_for_number([0.01] * 4) == [0.04] * 4
    assert adjust_for_number([0.9, 0.001]) == [0.9, 0.002]
    assert adjust_for_number([None, None]) == [None, None]


def test_ranks_count_common_cases_only():
    values = {"a": {"x": 1.0, "y": 5.0, "z": 9.0}, "b": {"x": 2.0, "y": 4.0}, "c": {"x": 3.0, "y": 3.0}}
    assert mean_ranks(values, "smaller") == {"a": 2.0, "b": 2.0, "c": 2.0}
    assert mean_ranks({"a": {"x": 1.0}, "b": {"y": 1.0}}, "larger") == {}
