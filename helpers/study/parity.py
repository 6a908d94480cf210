"""Compares what several callables answer to the same inputs: errors and label flips against the first one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from helpers.inference.labels import class_map_errors, lead_of_best, slab_to_labels


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
        others: name to callable of the same form, or one whose graph ends in an ArgMax: (1, N, ...) whole numbers.
        inputs: batches to compare on.
        margin: lead of the best class, as a fraction of the range, above which a flip is clear.
    """
    expected = [np.asarray(reference(batch)) for batch in inputs]
    rows = []
    for name, call in others.items():
        actual = [np.asarray(call(batch)) for batch in inputs]
        are_maps = all(np.issubdtype(answer.dtype, np.integer) for answer in actual)
        compare = compare_class_maps if are_maps else compare_outputs
        rows.append(compare(name, expected, actual, margin=margin))
    return rows


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
            clear += int(np.count_nonzero(flipped & (lead_of_best(want[index]) > margin * span)))
            positions += flipped.size
    every = np.concatenate(errors)
    return Agreement(
        name, float(every.max()), float(every.mean()), float(np.quantile(every, 0.999)), flips, clear, positions
    )


def compare_class_maps(
    name: str, expected: Sequence[np.ndarray], actual: Sequence[np.ndarray], *, margin: float = 1e-3
) -> Agreement:
    """Agreement of class maps, (1, N, ...) whole numbers, with the reference's scores (N, classes, ...).

    The errors are those of `class_map_errors`.
    """
    span = max(float(max(np.ptp(scores) for scores in expected)), float(np.finfo(np.float32).tiny))
    errors = []
    for want, got in zip(expected, actual, strict=True):
        if got.shape != (1, want.shape[0], *want.shape[2:]):
            raise ValueError(f"{name} answers {got.shape}, the reference {(1, want.shape[0], *want.shape[2:])}")
        errors.append(class_map_errors(want, got[0], span).ravel())
    every = np.concatenate(errors)
    return Agreement(
        name,
        float(every.max()),
        float(every.mean()),
        float(np.quantile(every, 0.999)),
        int(np.count_nonzero(every)),
        int(np.count_nonzero(2 * every > margin)),
        every.size,
    )
