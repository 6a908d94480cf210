"""Dice on hard labels, per label and per region, and the degenerate cases declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def dice(prediction: np.ndarray, truth: np.ndarray) -> float | None:
    """2TP / (2TP + FP + FN) of two boolean arrays; None when both are empty (there is nothing to find).

    None is left out of means and counted in the table, as nnU-Net's NaN is.
    """
    overlap = np.count_nonzero(prediction & truth)
    total = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return None if total == 0 else 2.0 * overlap / total


def dice_of_regions(
    prediction: np.ndarray, truth: np.ndarray, regions: Mapping[str, Sequence[int]]
) -> dict[str, float | None]:
    """Dice of each named union of labels.

    Args:
        prediction, truth: integer labels of one shape.
        regions: name to the labels that form it, such as {"WT": (1, 2, 3)}.
    """
    return {name: dice(np.isin(prediction, labels), np.isin(truth, labels)) for name, labels in regions.items()}


def mean_of_known(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are not None; None when there is none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def soft_dice_of_source(logits: np.ndarray, truth: np.ndarray) -> float:
    """The "DSC" of the published 3D U-Net, kept to compare with its 0.2543 and 0.2560, not to judge by.

    Sigmoid of every channel, background included, no threshold: 2 sum(p t) / (sum(p^2) + sum(t^2)) per channel
    over the whole batch, then the mean over channels. An untrained network scores about the same as these figures.

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
