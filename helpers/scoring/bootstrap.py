"""Percentile bootstrap intervals of a mean over cases (Efron, "Bootstrap methods", 1979)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES = 10_000


def mean_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high) of values (N,), the same on every machine: the resamples are drawn from a fixed seed.

    For paired differences give the differences. One value has no spread: low and high are that value.
    An interval of few cases is too narrow (it never reaches beyond the smallest and largest value seen).
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"values of shape {values.shape}; at least one in one dimension is needed")
    means = np.empty(RESAMPLES)
    random = np.random.default_rng(0)
    block = max(1, 2_000_000 // values.size)
    for start in range(0, RESAMPLES, block):
        count = min(block, RESAMPLES - start)
        means[start : start + count] = values[random.integers(0, values.size, (count, values.size))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(values.mean()), float(low), float(high)


def paired_interval(
    count: int,
    difference: Callable[[Sequence[int]], float | None],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """(low, high) of the difference of two scores that are no means over cases, such as a data set's mean IoU.

    Args:
        count: cases, at least one.
        difference: maps case indices, some repeated, to the difference over these cases; None where there is nothing
            to score among them.
        resamples: drawn from a fixed seed.
        confidence: share of the differences inside.

    Returns:
        NaN twice where no resample could be scored.
    """
    random = np.random.default_rng(0)
    drawn = [difference(random.integers(count, size=count).tolist()) for _ in range(resamples)]
    known = [value for value in drawn if value is not None]
    if not known:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
