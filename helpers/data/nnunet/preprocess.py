"""Prepares a case as its plan specifies (crop, transpose, resample, normalise), and restores a mask to its grid.

Sources: MIC-DKFZ/nnUNet v1.7.1 (preprocessing/cropping.py and preprocessing.py) and v2
(preprocessors/default_preprocessor.py). v1 resamples first and then normalises; v2 does the reverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.data.case import Case
from helpers.data.nnunet.plan import ChannelNorm, Plan
from helpers.data.nnunet.readers import UNTURNED, Sight, Turn
from helpers.data.nnunet.resample import Interpolation, interpolation_of, resample_image, resampled_shape
from helpers.data.regions import Box, bounding_box
from helpers.errors import DataError

_EPSILON = 1e-8


def normalise(
    image: np.ndarray, channels: Sequence[ChannelNorm], inside: np.ndarray | None, version: int
) -> np.ndarray:
    """Normalises an image (C, Z, Y, X); returns a float32 copy.

    Args:
        image: intensities.
        channels: one scheme per channel.
        inside: the nonzero region (Z, Y, X), for channels with `use_mask`; None if there are none.
        version: version of nnU-Net.

    Raises:
        DataError: image and plan have different numbers of channels, or values are not those of an RGB picture.

    >>> ct = ChannelNorm("ct", mean=40.0, sd=20.0, low=0.0, high=100.0)
    >>> image = np.array([-500.0, 40.0, 60.0, 900.0]).reshape(1, 1, 1, 4)
    >>> normalise(image, [ct], np.ones((1, 1, 4), bool), version=2).ravel().tolist()
    [-2.0, 0.0, 1.0, 3.0]
    """
    if len(image) != len(channels):
        raise DataError("the plan is for another number of channels", received=len(image), expected=len(channels))
    result = np.array(image, np.float32)
    for values, norm in zip(result, channels, strict=True):
        if norm.scheme == "ct":
            _normalise_ct(values, norm)
        elif norm.scheme == "ct2":
            _normalise_ct_by_case(values, norm)
        elif norm.scheme == "zscore":
            _normalise_by_case(values, inside if norm.use_mask else None, version)
        elif norm.scheme != "none":
            _normalise_to_01(values, norm.scheme)
        zeroes_outside = norm.scheme == "zscore" or (version == 1 and norm.scheme != "none")
        if inside is not None and norm.use_mask and zeroes_outside:
            values[~inside] = 0
    return result


def _normalise_ct(values: np.ndarray, norm: ChannelNorm) -> None:
    np.clip(values, norm.low, norm.high, out=values)
    values -= np.float32(norm.mean or 0)
    values /= np.float32(max(norm.sd or 0, _EPSILON))


def _normalise_ct_by_case(values: np.ndarray, norm: ChannelNorm) -> None:
    between = values[(values > norm.low) & (values < norm.high)]
    mean, sd = between.mean(dtype=np.float64), between.std(dtype=np.float64)
    np.clip(values, norm.low, norm.high, out=values)
    values -= np.float32(mean)
    values /= np.float32(max(sd, _EPSILON))


def _normalise_by_case(values: np.ndarray, inside: np.ndarray | None, version: int) -> None:
    counted = values if inside is None else values[inside]
    mean, sd = counted.mean(dtype=np.float64), counted.std(dtype=np.float64)
    values -= np.float32(mean)
    values /= np.float32(sd + _EPSILON if version == 1 else max(sd, _EPSILON))


def _normalise_to_01(values: np.ndarray, scheme: str) -> None:
    if scheme == "rgb_to_01":
        if values.min() < 0 or values.max() > 255:
            raise DataError(
                "the plan is for RGB pictures", received=f"{values.min():g} to {values.max():g}", expected="0 to 255"
            )
        values /= np.float32(255)
        return
    values -= values.min()
    values /= max(values.max(), np.float32(_EPSILON))


@dataclass(frozen=True)
class Prepared:
    """A prepared case, and everything that is needed to restore its mask.

    Attributes:
        image: (C, Z, Y, X) float32 in the plan's axes, spacing and intensities.
        box: the non-zero region of the reader's image, before the transposition.
        original_shape: (Z, Y, X) of the reader's image.
        cropped_shape: shape of the box in the plan's axes, which scores are resampled to.
        back_axis: the plan's axis along which scores are resampled by the nearest slice (order 0), or None.
        transpose_backward: order of axes that leads from the plan's axes to the reader's.
        target_shape: shape that scores are resampled to; None if the plan resamples nothing.
        turn: from the case's axes to those of the reader's image.
    """

    image: np.ndarray
    box: Box
    original_shape: tuple[int, ...]
    cropped_shape: tuple[int, ...]
    back_axis: int | None
    transpose_backward: tuple[int, ...]
    target_shape: tuple[int, ...] | None = None
    turn: Turn = UNTURNED


def prepare_case(image: np.ndarray, sight: Sight | Sequence[float], plan: Plan) -> Prepared:
    """Prepares one case for the network of a plan.

    Args:
        image: (C, Z, Y, X), in the axes of its file.
        sight: what the plan's reader reports of it, or only its spacing in (Z, Y, X) if the reader turns nothing.
        plan: the model's plan; a 2-D plan keeps the spacing between slices.

    Raises:
        DataError: the image is zero everywhere, or does not have the plan's channels.
    """
    sight = sight if isinstance(sight, Sight) else Sight(tuple(sight))
    image = sight.turn.apply(np.asarray(image))
    box = bounding_box((image != 0).any(axis=0))
    if box is None:
        raise DataError("the image is zero everywhere", expected="intensities", remedy="Check the file.")
    forward = plan.transpose_forward
    spacing = [float(sight.spacing_mm[axis]) for axis in forward]
    target = [*spacing[: 3 - len(plan.spacing_mm)], *plan.spacing_mm]
    cut = image[(slice(None), *box)].transpose(0, *(axis + 1 for axis in forward))
    cropped = np.ascontiguousarray(cut, np.float32)  # the image itself if it is not cut, turned or of another type
    cropped_shape = cropped.shape[1:]
    how, back = _interpolations(plan)
    shape = cropped_shape if how is None else resampled_shape(cropped_shape, spacing, target)
    prepared = np.ascontiguousarray(_resampled_and_normalised(cropped, plan, shape, how, spacing, target))
    back_axis = None
    if back is not None and back.order_z == 0:
        # When scores are resampled, v1 considers the case's spacing first, v2 the network's.
        back_axis = back.axis(spacing, target) if plan.version == 1 else back.axis(target, spacing)
    goal = None if back is None else cropped_shape
    backward = plan.transpose_backward
    return Prepared(prepared, box, image.shape[1:], cropped_shape, back_axis, backward, goal, sight.turn)


def prepared_shape(
    image: np.ndarray, sight: Sight | Sequence[float], plan: Plan, *, crops: bool = True
) -> tuple[int, ...]:
    """The shape (C, Z, Y, X) that `prepare_case` gives a case, found without resampling; zeros for an empty image.

    Without `crops` it is the largest possible one, found without looking at the voxels.
    """
    sight = sight if isinstance(sight, Sight) else Sight(tuple(sight))
    image = sight.turn.apply(np.asarray(image))
    whole = tuple(slice(0, size) for size in image.shape[1:])
    box = bounding_box((image != 0).any(axis=0)) if crops else whole
    if box is None:
        return (len(image), 0, 0, 0)
    spacing = [float(sight.spacing_mm[axis]) for axis in plan.transpose_forward]
    target = [*spacing[: 3 - len(plan.spacing_mm)], *plan.spacing_mm]
    sizes = tuple(box[axis].stop - box[axis].start for axis in plan.transpose_forward)
    return (len(image), *(sizes if _interpolations(plan)[0] is None else resampled_shape(sizes, spacing, target)))


def check_resampling(plan: Plan) -> None:
    """Refuses a plan that resamples as is not supported, before any work.

    Raises:
        DataError: as above; the message names the function and its arguments.
    """
    _interpolations(plan)


def _interpolations(plan: Plan) -> tuple[Interpolation | None, Interpolation | None]:
    """How images and scores are resampled."""
    if plan.version == 1 and not plan.resampling_data.options:  # plans of v1 name no function
        image: Interpolation | None = Interpolation(plan.interpolation_order, plan.interpolation_order_z)
    else:
        image = interpolation_of(plan.resampling_data)
    scores = interpolation_of(plan.resampling_probabilities)
    if (image is None) != (scores is None) or (
        scores is not None and (scores.order, scores.order_z > 1) != (1, False)
    ):
        raise DataError(
            "the plan's resampling of scores is not supported",
            received=f"{plan.resampling_probabilities.function} with {dict(plan.resampling_probabilities.options)}",
            expected="order 1, with order 0 or 1 along a coarse axis, and no resampling only of image and scores",
        )
    return image, scores


def _resampled_and_normalised(
    cropped: np.ndarray,
    plan: Plan,
    shape: tuple[int, ...],
    how: Interpolation | None,
    spacing: Sequence[float],
    target: Sequence[float],
) -> np.ndarray:
    """The image on the network's grid; v1 resamples first, v2 normalises first."""
    inside = _inside(cropped, plan)
    if how is None:
        return normalise(cropped, plan.channels, inside, plan.version)
    axis, orders = how.axis(spacing, target), (how.order, how.order_z)
    if plan.version == 2:
        return resample_image(normalise(cropped, plan.channels, inside, plan.version), shape, axis, *orders)
    resampled = resample_image(cropped, shape, axis, *orders)
    if inside is not None:
        inside = resample_image(inside[None], shape, axis, 1, 0)[0] >= 0.5
    return normalise(resampled, plan.channels, inside, plan.version)


def restore_labels(labels: np.ndarray, prepared: Prepared) -> np.ndarray:
    """Restores labels (Z, Y, X) on the cropped grid, in the plan's axes, to the case's grid, with zeros around them.

    Raises:
        DataError: the shape of the labels differs from `prepared.cropped_shape`.
    """
    if labels.shape != tuple(prepared.cropped_shape):
        raise DataError("labels are not on the cropped grid", received=labels.shape, expected=prepared.cropped_shape)
    restored = np.zeros(prepared.original_shape, labels.dtype)
    restored[prepared.box] = labels.transpose(prepared.transpose_backward)
    return np.ascontiguousarray(prepared.turn.undo(restored))


def _inside(cropped: np.ndarray, plan: Plan) -> np.ndarray | None:
    # Filling holes and resampling them is slow on a full CT, and only `use_mask` needs it.
    if not any(norm.use_mask for norm in plan.channels):
        return None
    from scipy.ndimage import binary_fill_holes

    return binary_fill_holes((cropped != 0).any(axis=0))


def window_around_truth(case: Case, plan: Plan, prepared: Prepared) -> np.ndarray:
    """The plan's window (C, *window) around the middle of the labelled region, or of the case if there is none.

    Args:
        case: with or without a truth.
        plan: of the model.
        prepared: the case prepared by that plan, with every channel of the network's input.
    """
    window = (1, *plan.patch_size) if len(plan.patch_size) == 2 else plan.patch_size
    middle = _middle_of_truth(case, prepared, plan)
    sides = zip(middle, window, prepared.image.shape[1:], strict=True)
    starts = [max(0, min(round(centre) - side // 2, size - side)) for centre, side, size in sides]
    box = tuple(slice(start, start + side) for start, side in zip(starts, window, strict=True))
    sample = prepared.image[(slice(None), *box)]
    missing = [(0, side - size) for side, size in zip(window, sample.shape[1:], strict=True)]
    sample = np.pad(sample, [(0, 0), *missing])
    return np.ascontiguousarray(sample[:, 0] if len(plan.patch_size) == 2 else sample)


def _middle_of_truth(case: Case, prepared: Prepared, plan: Plan) -> list[float]:
    """The centre of the labelled region in voxels of the prepared image; the image's own centre if there is none."""
    sizes = prepared.image.shape[1:]
    inside = None
    if case.truth is not None:
        labelled = (case.truth != 0) & (case.truth != plan.ignore_label)
        inside = prepared.turn.apply(labelled)[prepared.box].transpose(plan.transpose_forward)
    if inside is None or not inside.any():
        return [size / 2 for size in sizes]
    return [
        float(np.median(hit)) * size / cropped
        for hit, size, cropped in zip(np.nonzero(inside), sizes, prepared.cropped_shape, strict=True)
    ]
