"""Chance-corrected agreement of readers: Cohen's and Fleiss' kappa, with a bootstrap interval over cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
COHEN, FLEISS = "Cohen's kappa", "Fleiss' kappa"
_NO_CASES, _NO_VARIETY = "no case was judged by all of them", "all verdicts are the same"
_CERTAIN = 1 - 1e-12  # chance agreement from which kappa would divide by zero


@dataclass(frozen=True)
class Kappa:
    """The agreement of two readers or more on the cases that all of them judged.

    Attributes:
        name: `COHEN` for two readers, `FLEISS` for three or more; both unweighted.
        readers: whose verdicts.
        cases: that all readers judged.
        unanimous: cases on which all readers agree.
        raw: the share of pairs of readers that agree, averaged over cases; None without cases.
        value: kappa; None if it is undefined.
        interval: 95 %, by the percentile bootstrap over cases; None if the cases give no estimate of spread.
        undefined: the share of resamples in which kappa is undefined; the interval leaves them out.
        reason: why there is no value.
    """

    name: str
    readers: tuple[str, ...]
    cases: int
    unanimous: int
    raw: float | None
    value: float | None
    interval: tuple[float, float] | None = None
    undefined: float = 0.0
    reason: str = ""


def measure_agreement(readers: Sequence[str], verdicts: Sequence[Sequence[str]], confidence: float = 0.95) -> Kappa:
    """Measures the agreement of readers on cases.

    Args:
        readers: two or more.
        verdicts: per case, one verdict per reader in the order of `readers`.
        confidence: nominal coverage of the interval.

    Sources: Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20
    (1960); Fleiss, "Measuring nominal scale agreement among many raters", Psychological Bulletin 76 (1971).

    >>> found = measure_agreement(["ann", "bob"], [("accept", "accept")] * 6 + [("reject", "accept")] * 2)
    >>> found.name, found.raw, found.value
    ("Cohen's kappa", 0.75, 0.0)
    """
    name = COHEN if len(readers) == 2 else FLEISS
    if not verdicts:
        return Kappa(name, tuple(readers), 0, 0, None, None, reason=_NO_CASES)
    kinds = {kind: code for code, kind in enumerate(sorted({kind for row in verdicts for kind in row}))}
    patterns, weights = np.unique([[kinds[kind] for kind in row] for row in verdicts], axis=0, return_counts=True)
    agreed, chance = _observed(patterns, weights[None], len(kinds)), _by_chance(patterns, weights[None], len(kinds))
    unanimous = int(weights[(patterns == patterns[:, :1]).all(axis=1)].sum())
    value = float(_correct_for_chance(agreed, chance)[0])
    if np.isnan(value):
        return Kappa(name, tuple(readers), len(verdicts), unanimous, float(agreed[0]), None, reason=_NO_VARIETY)
    interval, undefined = _bootstrap(patterns, weights, len(kinds), confidence)
    return Kappa(name, tuple(readers), len(verdicts), unanimous, float(agreed[0]), value, interval, undefined)


def _bootstrap(
    patterns: np.ndarray, weights: np.ndarray, kinds: int, confidence: float
) -> tuple[tuple[float, float] | None, float]:
    """The interval, and the share of resamples without a kappa. Cases of one pattern are interchangeable."""
    count = int(weights.sum())
    drawn = np.random.default_rng(0).multinomial(count, weights / count, size=RESAMPLES)
    values = _correct_for_chance(_observed(patterns, drawn, kinds), _by_chance(patterns, drawn, kinds))
    known = values[~np.isnan(values)]
    undefined = 1 - known.size / values.size
    if not known.size or np.ptp(known) == 0:
        return None, undefined
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return (float(low), float(high)), undefined


def _observed(patterns: np.ndarray, weights: np.ndarray, kinds: int) -> np.ndarray:
    """The share of agreeing pairs of readers, (S,).

    Args:
        patterns: codes of verdicts (P, R).
        weights: cases per pattern in each of S samples, (S, P).
        kinds: number of codes.
    """
    counts, readers = _count_kinds(patterns, kinds), patterns.shape[1]
    shares = (counts * (counts - 1)).sum(axis=1) / (readers * (readers - 1))
    return weights @ shares / weights.sum(axis=1)


def _by_chance(patterns: np.ndarray, weights: np.ndarray, kinds: int) -> np.ndarray:
    """The agreement expected by chance, (S,): Cohen's keeps each reader's own shares, Fleiss' pools them."""
    totals = weights.sum(axis=1, keepdims=True)
    if patterns.shape[1] == 2:
        first, second = (weights @ np.eye(kinds)[patterns[:, reader]] / totals for reader in (0, 1))
        return (first * second).sum(axis=1)
    pooled = weights @ _count_kinds(patterns, kinds) / (totals * patterns.shape[1])
    return (pooled**2).sum(axis=1)


def _correct_for_chance(agreed: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Kappa; NaN where chance alone would agree always."""
    defined = chance < _CERTAIN
    return np.where(defined, (agreed - chance) / np.where(defined, 1 - chance, 1), np.nan)


def _count_kinds(patterns: np.ndarray, kinds: int) -> np.ndarray:
    return np.eye(kinds)[patterns].sum(axis=1)
