"""Dice of label masks, per label and per region, with a defined result for empty masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def dice(prediction: np.ndarray, truth: np.ndarray) -> float | None:
    """2 TP / (2 TP + FP + FN) of two boolean arrays; None if both are empty.

    Means leave None out, as nnU-Net leaves NaN out.

    >>> dice(np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool))
    0.5
    >>> dice(np.zeros(4, bool), np.zeros(4, bool)) is None
    True
    """
    overlap = np.count_nonzero(prediction & truth)
    total = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return None if total == 0 else float(2.0 * overlap / total)


def dice_of_regions(
    prediction: np.ndarray, truth: np.ndarray, regions: Mapping[str, Sequence[int]]
) -> dict[str, float | None]:
    """Dice of each named union of labels.

    Args:
        prediction, truth: integer labels of one shape.
        regions: labels of each region by its name, such as {"WT": (1, 2, 3)}.

    >>> dice_of_regions(np.array([1, 2, 3]), np.array([1, 3, 3]), {"WT": (1, 2, 3), "ET": (3,)})
    {'WT': 1.0, 'ET': 0.6666666666666666}
    """
    return {name: dice(np.isin(prediction, labels), np.isin(truth, labels)) for name, labels in regions.items()}


def without_ignored(prediction: np.ndarray, truth: np.ndarray, ignore: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The labels of both where the truth is not the ignore label, flat; unchanged without an ignore label.

    >>> without_ignored(np.array([1, 2, 0]), np.array([1, 3, 0]), 3)
    (array([1, 0]), array([1, 0]))
    """
    if ignore is None:
        return prediction, truth
    counted = truth != ignore
    return prediction[counted], truth[counted]


def mean_of_known(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are not None, or None if there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def soft_dice_of_source(logits: np.ndarray, truth: np.ndarray) -> float:
    """The "DSC" of the published 3D U-Net, to reproduce its 0.2543 and 0.2560; it says nothing about quality.

    A sigmoid of every channel, background included, without a threshold: 2 sum(p t) / (sum(p^2) + sum(t^2)) per
    channel over the entire batch, then the mean over channels. An untrained network scores about as high.

    Args:
        logits: (N, classes, Z, Y, X).
        truth: class indices (N, Z, Y, X).

    Source: black0017/MedicalZooPytorch, lib/losses3D (DiceLoss with its default sigmoid).
    """
    from helpers.inference.scores import sigmoid

    axes = (0, *range(2, logits.ndim))
    probability = sigmoid(logits.astype(np.float32)).astype(np.float64)
    one_hot = np.stack([truth == index for index in range(logits.shape[1])], axis=1)
    overlap = (probability * one_hot).sum(axis=axes)
    size = (probability**2).sum(axis=axes) + one_hot.sum(axis=axes)
    return float(np.mean(2.0 * overlap / np.maximum(size, 1e-6)))
