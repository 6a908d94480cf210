"""A case prepared as its plan asks and a mask brought back: crop, transpose, resample, normalise, and the way back.

Sources: MIC-DKFZ/nnUNet v1.7.1 (preprocessing/cropping.py and preprocessing.py) and v2
(preprocessors/default_preprocessor.py). v1 resamples and then normalises, v2 the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.data.nnunet.normalise import normalise
from helpers.data.nnunet.plan import Plan
from helpers.data.nnunet.resample import resample_image, resampled_shape, separate_axis
from helpers.errors import DataError

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Prepared:
    """A prepared case and what it takes to bring a mask back.

    Attributes:
        image: (C, Z, Y, X) float32 in the plan's axes, spacing and intensities.
        box: the nonzero region of the original, before the transposition.
        original_shape: (Z, Y, X) of the case.
        cropped_shape: of the box in the plan's axes: what scores are resampled to.
        back_axis: the plan's axis that goes back by its nearest slice (order 0), or None.
        transpose_backward: from the plan's axes to the case's.
    """

    image: np.ndarray
    box: Box
    original_shape: tuple[int, ...]
    cropped_shape: tuple[int, ...]
    back_axis: int | None
    transpose_backward: tuple[int, ...]


def prepare_case(image: np.ndarray, spacing_mm: Sequence[float], plan: Plan) -> Prepared:
    """Prepares one case for a plan's network.

    Args:
        image: (C, Z, Y, X).
        spacing_mm: (Z, Y, X).
        plan: of the model; a 2-D one keeps the spacing between slices.

    Raises:
        DataError: the image is zero everywhere or has other channels than the plan.
    """
    image = np.asarray(image)
    box = nonzero_box(image)
    forward = plan.transpose_forward
    spacing = [float(spacing_mm[axis]) for axis in forward]
    target = [*spacing[: 3 - len(plan.spacing_mm)], *plan.spacing_mm]
    cropped = image[(slice(None), *box)].transpose(0, *(axis + 1 for axis in forward)).astype(np.float32)
    inside = _inside(cropped, plan)
    shape = resampled_shape(cropped.shape[1:], spacing, target)
    axis = separate_axis(spacing, target)
    orders = (plan.interpolation_order, plan.interpolation_order_z)
    if plan.version == 1:
        resampled = resample_image(cropped, shape, axis, *orders)
        inside = resample_image(inside[None], shape, axis, 1, 0)[0] >= 0.5
        prepared = normalise(resampled, plan.channels, inside, plan.version)
    else:
        prepared = resample_image(normalise(cropped, plan.channels, inside, plan.version), shape, axis, *orders)
    # On the way back v1 looks at the case's spacing first, v2 at the network's.
    back_axis = axis if plan.version == 1 else separate_axis(target, spacing)
    prepared = np.ascontiguousarray(prepared)
    return Prepared(prepared, box, image.shape[1:], cropped.shape[1:], back_axis, plan.transpose_backward)


def restore_labels(labels: np.ndarray, prepared: Prepared) -> np.ndarray:
    """Labels (Z, Y, X) of the cropped grid in the plan's axes, put back where the case was cropped; zero around.

    Raises:
        DataError: the labels have another shape than `prepared.cropped_shape`.
    """
    if labels.shape != tuple(prepared.cropped_shape):
        raise DataError(
            "labels do not lie on the cropped grid", received=labels.shape, expected=prepared.cropped_shape
        )
    restored = np.zeros(prepared.original_shape, labels.dtype)
    restored[prepared.box] = labels.transpose(prepared.transpose_backward)
    return restored


def nonzero_box(image: np.ndarray) -> Box:
    """The smallest box (Z, Y, X) around the voxels of an image (C, Z, Y, X) that are not zero in every channel.

    Raises:
        DataError: all voxels are zero.
    """
    hit = (image != 0).any(axis=0)
    slices = []
    for axis in range(3):
        indices = np.flatnonzero(hit.any(axis=tuple(other for other in range(3) if other != axis)))
        if not indices.size:
            raise DataError("the image is zero everywhere", expected="intensities", remedy="Check the file.")
        slices.append(slice(int(indices[0]), int(indices[-1]) + 1))
    return tuple(slices)


def _inside(cropped: np.ndarray, plan: Plan) -> np.ndarray:
    # The filling is slow on a whole CT, and only a plan that masks asks for it.
    if not any(norm.use_mask for norm in plan.channels):
        return np.ones(cropped.shape[1:], bool)
    from scipy.ndimage import binary_fill_holes

    return binary_fill_holes((cropped != 0).any(axis=0))
