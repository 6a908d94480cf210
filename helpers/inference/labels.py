"""Class scores to labels."""

from __future__ import annotations

import numpy as np


def slab_to_labels(scores: np.ndarray, threshold: float = 0.0) -> np.ndarray:
    """Labels (Z, Y, X) uint8 of class scores (classes, Z, Y, X): the first largest class.

    With a single class the label is 1 where the score is above the threshold: 0 on a logit is 0.5 on its sigmoid.
    A running maximum over the classes reads memory in order, unlike argmax over the first axis.
    """
    if scores.shape[0] == 1:
        return (scores[0] > threshold).astype(np.uint8)
    best = scores[0].copy()
    labels = np.zeros(best.shape, np.uint8)
    for index in range(1, scores.shape[0]):
        labels[scores[index] > best] = index
        np.maximum(best, scores[index], out=best)
    return labels
