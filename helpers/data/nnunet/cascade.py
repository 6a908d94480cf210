"""The second stage of a cascade: the mask of the first one becomes further channels of the image, one per label.

Sources: MIC-DKFZ/nnUNet v1.7.1 (nnunet/inference/predict.py) and v2 (preprocessors/default_preprocessor.py,
inference/data_iterators.py). v2 treats the mask as it treats a label: cropped, and resampled by the plan's function
for segmentations. v1 resizes the whole mask, uncropped, to the size of the prepared image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from helpers.data.nnunet.plan import Plan
from helpers.data.nnunet.preprocess import Prepared
from helpers.data.nnunet.readers import Sight
from helpers.data.nnunet.resample import Interpolation, interpolation_of, nearest_indices
from helpers.errors import DataError

_RESAMPLING = "resample_data_or_seg_to_shape"
_OUTSIDE = -1  # v2 marks background outside the non-zero region as a label of its own


def add_previous_stage(
    prepared: Prepared, image: np.ndarray, mask: np.ndarray, sight: Sight | Sequence[float], plan: Plan
) -> Prepared:
    """Adds the mask of the previous stage to a prepared case, one channel of zeros and ones per foreground label.

    Args:
        prepared: the case, prepared by the same plan.
        image: of the case, (C, Z, Y, X), in the axes of its file.
        mask: of the previous stage, (Z, Y, X), in the same axes.
        sight: what the plan's reader reports of the image, or only its spacing in (Z, Y, X).
        plan: of the second stage.

    Raises:
        DataError: the mask has another shape, or labels that the model does not know.
    """
    if mask.shape != image.shape[1:]:
        raise DataError("the previous stage's mask is on another grid", received=mask.shape, expected=image.shape[1:])
    if mask.max(initial=0) >= plan.n_classes or mask.min(initial=0) < 0:
        raise DataError(
            "the previous stage's mask holds labels that the model does not know",
            received=f"{mask.min()} to {mask.max()}",
            expected=f"0 to {plan.n_classes - 1}",
        )
    sight = sight if isinstance(sight, Sight) else Sight(tuple(sight))
    image, mask = sight.turn.apply(image), sight.turn.apply(mask[None])[0]
    forward, shape = plan.transpose_forward, prepared.image.shape[1:]
    spacing = [float(sight.spacing_mm[axis]) for axis in forward]
    if plan.version == 1:
        placed = resize_labels(mask.transpose(forward), shape, None, by_threshold=True)
    else:
        cropped = _mark_outside(mask, image, prepared).transpose(forward)
        target = [*spacing[: 3 - len(plan.spacing_mm)], *plan.spacing_mm]
        placed = _resample(cropped, shape, spacing, target, plan)
    channels = np.stack([placed == label for label in range(1, plan.n_classes)]).astype(np.float32)
    return replace(prepared, image=np.concatenate([prepared.image, channels]))


def _mark_outside(mask: np.ndarray, image: np.ndarray, prepared: Prepared) -> np.ndarray:
    from scipy.ndimage import binary_fill_holes

    inside = binary_fill_holes((image != 0).any(axis=0))[prepared.box]
    cropped = mask[prepared.box].astype(np.int16)
    cropped[(cropped == 0) & ~inside] = _OUTSIDE
    return cropped


def check_cascade(plan: Plan) -> None:
    """Refuses the second stage of a cascade whose plan resamples masks as is not supported, before any work.

    Raises:
        DataError: naming the function and its arguments.
    """
    named = plan.resampling_seg
    how = _how(plan) if plan.version == 2 and plan.previous_stage else None
    if how is not None and (named.function != _RESAMPLING or (how.order, how.order_z) != (1, 0)):
        raise DataError(
            "the plan's resampling of a previous stage's masks is not supported",
            received=f"{named.function} with {dict(named.options)}",
            expected=f"{_RESAMPLING} with order 1 and order_z 0",
        )


def _how(plan: Plan) -> Interpolation | None:
    named = plan.resampling_seg
    return interpolation_of(replace(named, options=tuple(each for each in named.options if each[0] != "is_seg")))


def _resample(
    labels: np.ndarray, shape: tuple[int, ...], spacing: Sequence[float], target: Sequence[float], plan: Plan
) -> np.ndarray:
    how = _how(plan)
    return labels if how is None else resize_labels(labels, shape, how.axis(spacing, target))


def resize_labels(
    labels: np.ndarray, shape: Sequence[int], axis: int | None, *, by_threshold: bool = False
) -> np.ndarray:
    """Resizes labels (Z, Y, X): each label on its own, linearly; the label with the largest share of a voxel wins.

    Args:
        labels: integers.
        shape: new (Z, Y, X).
        axis: the axis that takes the nearest slice, or None.
        by_threshold: as batchgenerators did before 0.25.4: the last label with at least half of the voxel wins.

    >>> labels = np.array([0, 2]).reshape(1, 1, 2)
    >>> resize_labels(labels, (1, 1, 4), None).tolist()
    [[[0, 0, 2, 2]]]
    """
    if labels.shape == tuple(shape):
        return labels
    sizes = enumerate(zip(labels.shape, shape, strict=True))
    between = tuple(old if index == axis else new for index, (old, new) in sizes)
    resized = _resize_by_threshold(labels, between) if by_threshold else _resize_by_share(labels, between)
    if axis is None or between == tuple(shape):
        return resized
    return np.take(resized, nearest_indices(between[axis], shape[axis]), axis=axis)


def _resize_by_share(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    values = np.unique(labels)
    if len(values) == 1:
        return np.full(shape, values[0], labels.dtype)
    nearest = _nearest(labels, shape)
    won = np.full(shape, values[0], labels.dtype)
    best = _share(labels, values[0], shape)
    nearest_leads = nearest == values[0]
    for value in values[1:]:
        share = _share(labels, value, shape)
        above, level, is_nearest = share > best, share == best, nearest == value
        won[above] = value
        nearest_leads = np.where(above, is_nearest, nearest_leads | (level & is_nearest))
        best = np.maximum(best, share)
    return np.where(nearest_leads, nearest, won)  # where labels share a voxel equally, the nearest one


def _resize_by_threshold(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    resized = np.zeros(shape, labels.dtype)
    for value in np.unique(labels):
        resized[_share(labels, value, shape) >= 0.5] = value
    return resized


def _share(labels: np.ndarray, value: int, shape: tuple[int, ...]) -> np.ndarray:
    """The share (Z, Y, X) float64 of a label in each new voxel, as scikit-image's linear `resize` computes it."""
    from scipy.ndimage import zoom

    return zoom(
        (labels == value).astype(np.float64), _factors(labels, shape), order=1, mode="nearest", grid_mode=True
    )


def _nearest(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    from scipy.ndimage import zoom

    nearest = zoom(labels.astype(np.float64), _factors(labels, shape), order=0, mode="nearest", grid_mode=True)
    return nearest.astype(labels.dtype)


def _factors(labels: np.ndarray, shape: tuple[int, ...]) -> list[float]:
    return [1 / (old / new) for new, old in zip(shape, labels.shape, strict=True)]
