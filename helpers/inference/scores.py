"""Class scores to labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from helpers.errors import DataError, DeviceError


def softmax(scores: np.ndarray) -> np.ndarray:
    """Softmax over axis 1, shifted by the largest score so that nothing overflows."""
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """Logistic function, from tanh, which does not overflow."""
    return np.float32(0.5) * (np.tanh(np.float32(0.5) * scores) + np.float32(1.0))


def label_threshold(activation: str | None) -> float:
    """The score above which the label of a single class is 1: 0 on a logit is 0.5 on its sigmoid."""
    return 0.5 if activation == "sigmoid" else 0.0


ACTIVATIONS = {None: lambda scores: scores, "softmax": softmax, "sigmoid": sigmoid}


MOST_CLASSES = 256


def infinite_scores(where: str) -> DeviceError:
    """The refusal of scores that are NaN or infinite there."""
    remedy = "Check the input for NaN, or run in f32."
    return DeviceError(
        "the device returned scores that are not finite", received=f"NaN or infinity in {where}", remedy=remedy
    )


def refuse_other_shape(received: Sequence[int], expected: tuple[int, ...]) -> None:
    """Raises a DeviceError for scores of another shape."""
    if tuple(received) != expected:
        raise DeviceError("the device returned another shape", received=tuple(received), expected=expected)


def refuse_many_classes(classes: int) -> None:
    """Raises a DataError for more classes than a label of eight bits tells apart."""
    if classes > MOST_CLASSES:
        raise DataError("labels are bytes", received=f"{classes} classes", expected=f"at most {MOST_CLASSES}")


def slab_to_labels(scores: np.ndarray, threshold: float = 0.0) -> np.ndarray:
    """Labels (Z, Y, X) uint8 of class scores (classes, Z, Y, X): the first largest class.

    With a single class the label is 1 where the score is above the threshold: 0 on a logit is 0.5 on its sigmoid.
    A running maximum over the classes reads memory in order, unlike argmax over the first axis.
    """
    if scores.shape[0] == 1:
        return (scores[0] > threshold).view(np.uint8)
    refuse_many_classes(scores.shape[0])
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


def lead_of_best(scores: np.ndarray) -> np.ndarray:
    """By how much the best class leads the second, (...) from (classes, ...); with one class, the distance from 0."""
    if scores.shape[0] == 1:
        return np.abs(scores[0])
    best = np.partition(scores, scores.shape[0] - 2, axis=0)
    return best[-1] - best[-2]


def class_map_errors(scores: np.ndarray, classes: np.ndarray, span: float) -> np.ndarray:
    """How far the scores behind a class map must be from the reference's, at least, as a fraction of their range.

    It is 0 where the class is the reference's best, and else half the lead that its best class had: a map of classes
    has no distances of its own.

    Args:
        scores: of the reference, (N, classes, ...).
        classes: (N, ...) whole numbers.
        span: the range of the reference's scores.
    """
    leads = np.stack([lead_of_best(sample) for sample in scores]) / span
    return np.where(scores.argmax(axis=1) == classes, 0.0, np.maximum(leads / 2, np.finfo(np.float32).tiny))
