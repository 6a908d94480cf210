"""Compares what several callables answer to the same inputs: errors and label flips against the first one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from helpers.inference.labels import slab_to_labels


@dataclass(frozen=True)
class Agreement:
    """How far one answer departs from the reference, over all inputs.

    Errors are absolute differences relative to the reference's range. A flip is a position whose largest class
    differs; `clear_flips` are those where the reference's best class led by more than the margin, also relative to
    the range, so that rounding cannot excuse them.
    """

    name: str
    largest: float
    mean: float
    p999: float
    flips: int
    clear_flips: int
    positions: int


def check_parity(
    reference: Callable[[np.ndarray], np.ndarray],
    others: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    inputs: Sequence[np.ndarray],
    *,
    margin: float = 1e-3,
) -> list[Agreement]:
    """Agreement of each callable with the reference.

    Args:
        reference: maps (N, C, ...) float32 to scores (N, classes, ...).
        others: name to callable of the same form.
        inputs: batches to compare on.
        margin: lead of the best class, as a fraction of the range, above which a flip is clear.
    """
    expected = [np.asarray(reference(batch)) for batch in inputs]
    return [
        compare_outputs(name, expected, [np.asarray(call(batch)) for batch in inputs], margin=margin)
        for name, call in others.items()
    ]


def compare_outputs(
    name: str, expected: Sequence[np.ndarray], actual: Sequence[np.ndarray], *, margin: float = 1e-3
) -> Agreement:
    """Agreement of answers with the reference's; both lists hold (N, classes, ...) scores."""
    span = max(float(max(np.ptp(scores) for scores in expected)), float(np.finfo(np.float32).tiny))
    errors, flips, clear, positions = [], 0, 0, 0
    for want, got in zip(expected, actual, strict=True):
        if want.shape != got.shape:
            raise ValueError(f"{name} answers {got.shape}, the reference {want.shape}")
        error = np.abs(got.astype(np.float64) - want) / span
        # NaN compares false with every limit: it must read as the worst error, not as none.
        errors.append(np.where(np.isfinite(error), error, np.inf).ravel())
        for index in range(want.shape[0]):
            flipped = slab_to_labels(want[index]) != slab_to_labels(got[index])
            flips += int(np.count_nonzero(flipped))
            clear += int(np.count_nonzero(flipped & (_lead(want[index]) > margin * span)))
            positions += flipped.size
    every = np.concatenate(errors)
    return Agreement(
        name, float(every.max()), float(every.mean()), float(np.quantile(every, 0.999)), flips, clear, positions
    )


def _lead(scores: np.ndarray) -> np.ndarray:
    """By how much the best class leads the second; with one class, the distance from the threshold 0."""
    if scores.shape[0] == 1:
        return np.abs(scores[0])
    best = np.partition(scores, scores.shape[0] - 2, axis=0)
    return best[-1] - best[-2]
