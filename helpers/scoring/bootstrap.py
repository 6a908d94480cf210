"""Bootstrap confidence intervals over cases; the fixed seed makes them the same on every machine."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES = 10_000
FEWEST_CASES = 5  # with fewer, an interval would be far too narrow to show
_VALUES_IN_MEMORY = 2_000_000  # limits how many resamples are drawn together


def mean_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float] | None:
    """The confidence interval of a mean over cases.

    The bias-corrected and accelerated (BCa) bootstrap suits scores better than plain percentiles: scores are skewed,
    with most values just below 1. For a handful of cases the interval is still too narrow.

    Args:
        values: (N,), one per case; the differences for a paired comparison.
        confidence: nominal coverage.

    Returns:
        (low, high), or None if there is a single value or all values are equal, which gives no estimate of spread.

    Raises:
        ValueError: there are no values, or the array has several axes.

    Source: Efron, "Better bootstrap confidence intervals", Journal of the American Statistical Association 82 (1987).

    >>> low, high = mean_interval(np.array([0.81, 0.86, 0.88, 0.90, 0.93]))
    >>> f"{low:.2f} to {high:.2f}"
    '0.83 to 0.91'
    >>> mean_interval(np.array([0.9, 0.9])) is None
    True
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"values of shape {values.shape}; expected (N,) with N of at least 1")
    return None if np.ptp(values) == 0 else _bca_interval(values, confidence)


def _bca_interval(values: np.ndarray, confidence: float) -> tuple[float, float] | None:
    from scipy.stats import DegenerateDataWarning, bootstrap

    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        low, high = bootstrap(
            (values,),
            np.mean,
            n_resamples=RESAMPLES,
            batch=max(1, _VALUES_IN_MEMORY // values.size),
            confidence_level=confidence,
            method="BCa",
            rng=np.random.default_rng(0),
        ).confidence_interval
    return (float(low), float(high)) if np.isfinite([low, high]).all() else None


def paired_interval(
    count: int,
    difference: Callable[[Sequence[int]], float | None],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> tuple[float, float] | None:
    """The confidence interval of the difference of two scores that are not means over cases, such as a mean IoU.

    Uses the percentile bootstrap (Efron, "Bootstrap methods", 1979), written out here because SciPy's cannot skip a
    resample without a score.

    Args:
        count: number of cases, at least one.
        difference: maps case indices (some repeated) to the difference of the scores over these cases; None if they
            contain nothing to score.
        resamples: number of resamples.
        confidence: nominal coverage.

    Returns:
        (low, high), or None if no resample could be scored.
    """
    random = np.random.default_rng(0)
    drawn = [difference(random.integers(count, size=count).tolist()) for _ in range(resamples)]
    known = [value for value in drawn if value is not None]
    if not known:
        return None
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
