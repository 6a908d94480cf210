"""Whether probabilities mean what they say: the expected calibration error."""

from __future__ import annotations

import numpy as np

BINS = 20


def calibration_error(probability: np.ndarray, truth: np.ndarray) -> float | None:
    """The expected calibration error (ECE) of one structure's probability.

    Voxels are sorted into 20 bins of equal width by their probability. In each bin the mean probability is compared
    with the share of voxels that are in the structure; the error is the mean difference, weighted by the voxels of
    the bins. Background far from the structure is nearly certain and lowers the error, so it compares runs over the
    same cases, not structures.

    Args:
        probability: of being in the structure, 0..1.
        truth: whether it is, of the same shape.

    Returns:
        0..1; None without voxels.

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017.

    >>> round(calibration_error(np.array([0.9, 0.9, 0.9, 0.1]), np.array([True, True, False, False])), 3)
    0.2
    """
    if not probability.size:
        return None
    chances = np.clip(probability.ravel().astype(np.float64), 0, 1)
    bins = np.minimum((chances * BINS).astype(np.intp), BINS - 1)
    predicted = np.bincount(bins, chances, BINS)
    there = np.bincount(bins[truth.ravel()], minlength=BINS)
    return float(np.abs(predicted - there).sum() / chances.size)
