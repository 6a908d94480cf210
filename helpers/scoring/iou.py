"""Intersection over union of the foreground per image, and its mean.

The functions named `source_…` reproduce the figures of postprocess_unet_pth.py (ascend/ModelZoo-PyTorch,
contrib/cv/segmentation/UNet), errors included.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from helpers.errors import DataError

_DICE_EPSILON = 1e-4
_SOURCE_MINIMUM_IOU = 0.5


def foreground_iou(mask: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of the foreground in one image.

    Args:
        mask: predicted, boolean or 0 and 1, of any shape.
        truth: of the same shape.

    Returns:
        0..1; 1.0 if neither has any foreground.

    Raises:
        DataError: the shapes differ, or an array holds values other than 0 and 1.

    >>> foreground_iou(np.array([1, 1, 0, 0]), np.array([0, 1, 1, 0]))
    0.3333333333333333
    """
    mask, truth = _binary(mask, truth)
    union = np.count_nonzero(mask | truth)
    return float(np.count_nonzero(mask & truth) / union) if union else 1.0


def mean_iou(ious: Sequence[float]) -> float:
    """The mean over all images, failed ones included.

    Raises:
        DataError: there are no images.
    """
    if not len(ious):
        raise DataError("there are no images to score", expected="at least one")
    return float(np.mean(ious))


def source_mean_iou(masks: Iterable[np.ndarray], truths: Iterable[np.ndarray]) -> tuple[float, int]:
    """The source's mean, which leaves out images with an empty prediction or an IoU below 0.5.

    It is almost always higher than the mean over all images. Correct empty predictions are left out too.

    Args:
        masks: predictions, as in `foreground_iou`.
        truths: in the same order.

    Returns:
        The mean, NaN if every image was left out, and the number of images left out.
    """
    ious = [_source_iou(mask, truth) for mask, truth in zip(masks, truths, strict=True)]
    kept = [iou for iou in ious if iou > 0]
    return float(np.mean(kept)) if kept else float("nan"), len(ious) - len(kept)


def source_eval_value(mask: np.ndarray, truth: np.ndarray) -> float:
    """The "eval value" that the source prints: the mean Dice of the rows of pixels, which is not the image's Dice.

    The source passes a single image to milesial/Pytorch-UNet's `dice_coeff` (dice_loss.py), which takes the first
    axis for the batch and so scores each row separately. A row that is empty in both masks counts as 1.0, or as 0.0
    with a single stray pixel, so the empty rows above and below the car matter as much as the car.

    Args:
        mask: (H, W), as in `foreground_iou`.
        truth: (H, W).

    Raises:
        DataError: as in `foreground_iou`, or the arrays do not have two axes.
    """
    mask, truth = _binary(mask, truth)
    if mask.ndim != 2:
        raise DataError("scores of rows need two axes", received=mask.shape, expected="(H, W)")
    inside = np.count_nonzero(mask & truth, axis=1)
    both = np.count_nonzero(mask, axis=1) + np.count_nonzero(truth, axis=1)
    return float(np.mean((2 * inside + _DICE_EPSILON) / (both + _DICE_EPSILON)))


def _source_iou(mask: np.ndarray, truth: np.ndarray) -> float:
    iou = foreground_iou(mask, truth)
    return iou if np.any(mask) and iou >= _SOURCE_MINIMUM_IOU else 0.0


def _binary(mask: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if mask.shape != truth.shape:
        raise DataError("mask and truth differ in shape", received=mask.shape, expected=truth.shape)
    for name, array in (("mask", mask), ("truth", truth)):
        if array.dtype != bool and not np.isin(array, (0, 1)).all():
            raise DataError(
                f"the {name} is not binary",
                received=f"values {np.unique(array)[:8].tolist()}",
                expected="0 and 1",
                remedy="Binarise it first: 255 would never equal 1.",
            )
    return mask.astype(bool), truth.astype(bool)
