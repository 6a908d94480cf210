"""Class scores: activations, labels, margins, and errors for invalid scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from helpers.errors import DataError, DeviceError

MAX_CLASSES = 256


def softmax(scores: np.ndarray) -> np.ndarray:
    """Softmax over axis 1, shifted by the largest score so that nothing overflows.

    >>> softmax(np.array([[1000.0, 1000.0]])).tolist()
    [[0.5, 0.5]]
    """
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """Logistic function, by tanh, which does not overflow.

    >>> sigmoid(np.float32([-1000, 0, 1000])).tolist()
    [0.0, 0.5, 1.0]
    """
    return np.float32(0.5) * (np.tanh(np.float32(0.5) * scores) + np.float32(1.0))


ACTIVATIONS: dict[str | None, Callable[[np.ndarray], np.ndarray]] = {
    None: lambda scores: scores,
    "softmax": softmax,
    "sigmoid": sigmoid,
}


def infinite_scores(where: str, name: str = "the device") -> DeviceError:
    """The error for scores that are NaN or infinite."""
    return DeviceError(
        f"{name} returned scores that are not finite",
        received=f"NaN or infinity in {where}",
        remedy="Check the input for NaN, or run in f32.",
    )


def refuse_other_shape(received: Sequence[int], expected: tuple[int, ...], name: str = "the device") -> None:
    """Raises a DeviceError, with the predictor's name, for scores of another shape."""
    if tuple(received) != expected:
        raise DeviceError(f"{name} returned another shape", received=tuple(received), expected=expected)


def refuse_many_classes(classes: int) -> None:
    """Raises a DataError for more classes than an eight-bit label can hold."""
    if classes > MAX_CLASSES:
        raise DataError("labels have eight bits", received=f"{classes} classes", expected=f"at most {MAX_CLASSES}")


def slab_to_labels(scores: np.ndarray, threshold: float = 0.0, region_labels: Sequence[int] = ()) -> np.ndarray:
    """Labels (Z, Y, X) uint8 of class scores (classes, Z, Y, X): the first largest class.

    With a single class the label is 1 where the score is above the threshold: a logit of 0 is a sigmoid of 0.5.
    With `region_labels`, channels are regions that may overlap: each paints its label where its score is above the
    threshold, over those of earlier channels. A running maximum over the classes reads memory in order, unlike argmax
    over the first axis.

    >>> scores = np.array([[[[2, 0]]], [[[1, 3]]], [[[2, 3]]]], np.float32)
    >>> slab_to_labels(scores).tolist(), slab_to_labels(scores, 1.5, (3, 1, 2)).tolist()
    ([[[0, 1]]], [[[2, 2]]])
    """
    if region_labels:
        labels = np.zeros(scores.shape[1:], np.uint8)
        for region, label in zip(scores, region_labels, strict=True):
            labels[region > threshold] = label
        return labels
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
        # A later class has a larger number, so the larger of both numbers is the winner's.
        np.maximum(labels, above.view(np.uint8) * np.uint8(index), out=labels)
        np.maximum(best, scores[index], out=best)


def lead_of_best(scores: np.ndarray) -> np.ndarray:
    """Margin of the best class over the second, (...) from (classes, ...); with one class, the distance from 0.

    >>> lead_of_best(np.array([0.1, 0.7, 0.25])).round(3).tolist()
    0.45
    """
    if scores.shape[0] == 1:
        return np.abs(scores[0])
    best = np.partition(scores, scores.shape[0] - 2, axis=0)
    return best[-1] - best[-2]


def class_map_errors(scores: np.ndarray, classes: np.ndarray, span: float) -> np.ndarray:
    """Minimum error of the scores behind a class map, as a fraction of the range of the reference's scores.

    A class map has no distances of its own: its error is 0 where the class is the reference's best, and half the lead
    of the reference's best class elsewhere.

    Args:
        scores: of the reference, (N, classes, ...).
        classes: (N, ...) integers.
        span: the range of the reference's scores.
    """
    leads = np.stack([lead_of_best(sample) for sample in scores]) / span
    return np.where(scores.argmax(axis=1) == classes, 0.0, np.maximum(leads / 2, np.finfo(np.float32).tiny))
