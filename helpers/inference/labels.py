"""Class scores to labels."""

from __future__ import annotations

import numpy as np


def slab_to_labels(scores: np.ndarray, threshold: float = 0.0) -> np.ndarray:
    """Labels (Z, Y, X) uint8 of class scores (classes, Z, Y, X): the first largest class.

    With a single class the label is 1 where the score is above the threshold: 0 on a logit is 0.5 on its sigmoid.
    A running maximum over the classes reads memory in order, unlike argmax over the first axis.
    """
    if scores.shape[0] == 1:
        return (scores[0] > threshold).view(np.uint8)
    labels = np.empty(scores.shape[1:], np.uint8)
    for plane in range(scores.shape[1]):
        _label_plane(scores[:, plane], labels[plane])
    return labels


def _label_plane(scores: np.ndarray, labels: np.ndarray) -> None:
    """Labels of one plane, which fits a core's cache."""
    above = np.greater(scores[1], scores[0])
    labels[...] = above
    if scores.shape[0] == 2:
        return
    best = np.maximum(scores[0], scores[1])
    for index in range(2, scores.shape[0]):
        np.greater(scores[index], best, out=above)
        # A later class has a larger number, so the larger of both is the winner's.
        np.maximum(labels, above.view(np.uint8) * np.uint8(index), out=labels)
        np.maximum(best, scores[index], out=best)
