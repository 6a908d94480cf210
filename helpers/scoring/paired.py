"""Whether two runs differ in a metric, case by case: a test, the cases that decide, and ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from helpers.scoring.bootstrap import FEWEST_CASES
from helpers.scoring.volume_metrics import Better

_DIGITS = 9  # of a difference: what is smaller is the rounding of sums


@dataclass(frozen=True)
class PairedTest:
    """The differences of one metric between two runs, over the cases that both have.

    Attributes:
        better, equal, worse: number of cases in which the later run is.
        p: two-sided Wilcoxon signed-rank test; None with fewer than five cases that differ.
        turned_by: the fewest cases without which the mean difference would vanish or change its sign, the largest
            first; all others together do not show it.
    """

    better: int
    equal: int
    worse: int
    p: float | None
    turned_by: tuple[str, ...]

    @property
    def cases(self) -> int:
        """How many cases were compared."""
        return self.better + self.equal + self.worse


def goodness(value: float, better: Better) -> float:
    """A value turned so that larger is better; of a difference of volumes, minus its size.

    >>> goodness(3.0, "smaller"), goodness(-2.0, "nearer to 0"), goodness(0.9, "larger")
    (-3.0, -2.0, 0.9)
    """
    return {"larger": value, "smaller": -value, "nearer to 0": -abs(value)}[better]


def compare_pairs(before: Mapping[str, float], after: Mapping[str, float], better: Better) -> PairedTest:
    """Compares the values of two runs by case.

    The test ranks the sizes of the differences (Wilcoxon, "Individual comparisons by ranking methods", Biometrics
    Bulletin 1, 1945), without the cases that are equal, and exactly for up to 50 cases without ties.

    Args:
        before, after: the metric by case; only cases in both count.
        better: which values of the metric are better.

    >>> before = {name: 0.8 for name in "abcdef"}
    >>> after = {**before, "a": 0.95, "b": 0.79, "c": 0.81, "d": 0.79, "e": 0.78}
    >>> found = compare_pairs(before, after, "larger")
    >>> found.better, found.equal, found.worse, found.turned_by
    (2, 1, 3, ('a',))
    """
    cases = [case for case in before if case in after]
    gains = np.array([goodness(after[case], better) - goodness(before[case], better) for case in cases])
    gains = np.round(gains, _DIGITS)
    return PairedTest(
        int((gains > 0).sum()),
        int((gains == 0).sum()),
        int((gains < 0).sum()),
        _signed_rank(gains),
        _turned_by(cases, gains),
    )


def _signed_rank(gains: np.ndarray) -> float | None:
    from scipy.stats import wilcoxon

    different = gains[gains != 0]
    return float(wilcoxon(different).pvalue) if different.size >= FEWEST_CASES else None


def _turned_by(cases: Sequence[str], gains: np.ndarray) -> tuple[str, ...]:
    total = float(gains.sum())
    if round(total, _DIGITS) == 0:
        return ()
    towards = gains * np.sign(total)
    order = np.argsort(-towards, kind="stable")
    left = np.round(abs(total) - np.cumsum(towards[order]), _DIGITS)
    return tuple(cases[index] for index in order[: int(np.argmax(left <= 0)) + 1])


def adjust_for_number(values: Sequence[float | None]) -> list[float | None]:
    """p values adjusted for the number of tests, so that one of many is not significant by chance.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6
    (1979).

    >>> adjust_for_number([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    known = sorted((value, index) for index, value in enumerate(values) if value is not None)
    adjusted: list[float | None] = [None] * len(values)
    highest = 0.0
    for place, (value, index) in enumerate(known):
        highest = max(highest, min(1.0, value * (len(known) - place)))
        adjusted[index] = round(highest, 12)
    return adjusted


def mean_ranks(values: Mapping[str, Mapping[str, float]], better: Better) -> dict[str, float]:
    """The mean rank of each run over the cases that all have, 1 for the best; equal values share their ranks.

    >>> mean_ranks({"f32": {"a": 0.9, "b": 0.8}, "int8": {"a": 0.7, "b": 0.8}}, "larger")
    {'f32': 1.25, 'int8': 1.75}
    """
    from scipy.stats import rankdata

    first, *others = values.values()
    cases = [case for case in first if all(case in other for other in others)]
    if not cases:
        return {}
    goods = np.array([[goodness(own[case], better) for case in cases] for own in values.values()])
    ranks = rankdata(-np.round(goods, _DIGITS), axis=0)
    return dict(zip(values, ranks.mean(axis=1).tolist(), strict=True))
