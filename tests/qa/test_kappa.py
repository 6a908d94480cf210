"""Kappa equals its published values and those of scikit-learn and statsmodels; where it is undefined, it says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.qa.journal import VERDICTS
from helpers.qa.kappa import COHEN, FLEISS, measure_agreement

LETTERS = {verdict[0]: verdict for verdict in VERDICTS}
# statsmodels 0.15.0: fleiss_kappa(aggregate_raters(ratings, 3)[0]) on seeded random verdicts, one letter per reader.
FLEISS_BY_STATSMODELS = json.loads((Path(__file__).parent / "fleiss_statsmodels.json").read_text(encoding="utf-8"))
# https://en.wikipedia.org/wiki/Fleiss%27_kappa: ten subjects, 14 raters, five categories, in hexadecimal.
FOURTEEN_RATERS = "0000e 02642 00356 03920 22811 77000 32630 25322 65210 02237"


def _named(count: int) -> list[str]:
    return [f"reader {number}" for number in range(count)]


def _random(generator: np.random.Generator, readers: int) -> list[tuple[str, ...]]:
    shares = generator.dirichlet([0.5] * 3)
    codes = generator.choice(3, size=(int(generator.integers(2, 60)), readers), p=shares)
    return [tuple(VERDICTS[code] for code in row) for row in codes]


def test_two_readers_equal_scikit_learn():
    from sklearn.metrics import cohen_kappa_score

    generator, compared = np.random.default_rng(5), 0
    for _ in range(60):
        verdicts = _random(generator, 2)
        found = measure_agreement(_named(2), verdicts)
        assert found.name == COHEN
        if found.value is not None:
            compared += 1
            assert found.value == pytest.approx(cohen_kappa_score(*zip(*verdicts, strict=True)), abs=1e-12)
    assert compared > 50


@pytest.mark.parametrize("number", range(len(FLEISS_BY_STATSMODELS)))
def test_several_readers_equal_statsmodels(number):
    given = FLEISS_BY_STATSMODELS[number]
    verdicts = [tuple(LETTERS[letter] for letter in case) for case in given["verdicts"].split()]
    found = measure_agreement(_named(len(verdicts[0])), verdicts)
    assert (found.name, found.cases) == (FLEISS, len(verdicts))
    assert found.value == pytest.approx(given["kappa"], abs=1e-12)


def test_the_worked_example_of_an_encyclopedia():
    counts = [[int(count, 16) for count in row] for row in FOURTEEN_RATERS.split()]
    verdicts = [[f"kind {kind}" for kind, count in enumerate(row) for _ in range(count)] for row in counts]
    assert all(len(row) == 14 for row in verdicts)
    found = measure_agreement(_named(14), verdicts)
    assert found.value == pytest.approx(0.210, abs=5e-4) and found.raw == pytest.approx(0.378, abs=5e-4)


def test_the_interval_is_close_to_the_asymptotic_one_of_a_large_sample():
    """Fleiss, Cohen and Everitt (1969), as statsmodels' cohens_kappa computes it: 0.5477 to 0.6523."""
    cells = {("accept", "accept"): 360, ("reject", "reject"): 360}
    cells |= {("accept", "reject"): 90, ("reject", "accept"): 90}
    found = measure_agreement(_named(2), [pair for pair, count in cells.items() for _ in range(count)])
    assert found.value == pytest.approx(0.6) and found.raw == pytest.approx(0.8)
    assert found.interval == pytest.approx((0.5477, 0.6523), abs=0.006)


def test_the_same_verdicts_give_the_same_interval():
    verdicts = _random(np.random.default_rng(8), 3)
    assert measure_agreement(_named(3), verdicts) == measure_agreement(_named(3), verdicts)


@pytest.mark.parametrize("readers", [2, 3])
def test_kappa_is_undefined_if_all_verdicts_are_the_same(readers):
    found = measure_agreement(_named(readers), [("accept",) * readers] * 40)
    assert found.value is None and found.interval is None
    assert (found.raw, found.unanimous, found.reason) == (1.0, 40, "all verdicts are the same")


def test_no_shared_case_is_no_agreement():
    found = measure_agreement(_named(2), [])
    assert (found.value, found.raw, found.cases, found.reason) == (None, None, 0, "no case was judged by all of them")


def test_perfect_agreement_has_no_interval():
    found = measure_agreement(_named(2), [("accept", "accept")] * 5 + [("reject", "reject")] * 5)
    assert found.value == 1.0 and found.interval is None


def test_resamples_without_a_kappa_are_counted():
    found = measure_agreement(_named(2), [("accept", "accept")] * 3 + [("reject", "accept")])
    # All four cases drawn are the first kind: (3/4)^4 of the resamples.
    assert found.undefined == pytest.approx(0.75**4, abs=0.02)
