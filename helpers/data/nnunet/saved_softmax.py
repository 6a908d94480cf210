"""Saves probabilities next to a mask, in the format that each nnU-Net version writes and its ensembling reads.

v1 (nnunet/inference/segmentation_export.py): `<case>.npz` with `softmax` float16 (C, Z, Y, X) on the cropped grid.
v2 (nnunetv2/inference/export_prediction.py): `<case>.npz` with `probabilities` float32 on the full grid of the case,
in the axes of the plan's reader, where voxels outside the crop are background. Both come with a `<case>.pkl` of plain
values that contains the position of the crop; v2 reads the grid from it too.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from helpers.data.case import Case
from helpers.data.geometry import Geometry
from helpers.data.nnunet.plan import Plan
from helpers.data.nnunet.preprocess import Prepared
from helpers.data.nnunet.readers import Sight, Turn, sight_of_case
from helpers.errors import DataError, explain_damage
from helpers.run.atomic import atomic_path


def write_softmax(stem: Path, planes: Iterable[np.ndarray], plan: Plan, prepared: Prepared, case: Case) -> None:
    """Writes `<stem>.npz` and `<stem>.pkl`.

    Args:
        stem: path of the two files without suffix.
        planes: probabilities (C, Y, X) of the cropped grid in the plan's axes, first plane to last; C is the
            number of classes, or of regions.
        plan: whose version and reader determine the form.
        prepared: the prepared case, with the position of the crop.
        case: the case itself.
    """
    dtype = np.float16 if plan.version == 1 else np.float32
    cropped = np.empty((plan.n_outputs, *prepared.cropped_shape), dtype)
    for index, plane in enumerate(planes):
        cropped[:, index] = plane
    cropped = cropped.transpose(0, *(axis + 1 for axis in prepared.transpose_backward))
    if plan.version == 1:
        content, properties = {"softmax": cropped}, _properties_of_v1(plan, prepared, case.require_geometry())
    else:
        full = np.zeros((plan.n_outputs, *prepared.original_shape), dtype)
        if not plan.regions:  # of labels, the background is certain outside the crop; of regions, none is there
            full[0] = 1
        full[(slice(None), *prepared.box)] = cropped
        content, properties = {"probabilities": full}, _properties_of_v2(plan, prepared, case)
    with atomic_path(stem.with_name(f"{stem.name}.npz")) as path:
        np.savez_compressed(path, allow_pickle=False, **content)
    with atomic_path(stem.with_name(f"{stem.name}.pkl")) as path:
        path.write_bytes(pickle.dumps(properties))


def read_softmax(stem: Path, case: Case) -> tuple[np.ndarray, np.ndarray] | None:
    """Probabilities that `write_softmax` saved, and the part of the case's truth that they are for.

    Args:
        stem: as `write_softmax` was given it.
        case: the case, with its truth.

    Returns:
        (C, ...) probabilities and class indices (...) on the grid that was saved; None if nothing was saved.

    Raises:
        DataError: a file is damaged, or is not of this case.
    """
    from helpers.networks.safe_pickle import read_plain_pickle

    path = stem.with_name(f"{stem.name}.npz")
    if not path.is_file():
        return None
    truth = sight_of_case(case).turn.apply(case.require_truth())
    with explain_damage(path, "Delete the mask and run again."), np.load(path, allow_pickle=False) as content:
        if "softmax" in content:
            box = read_plain_pickle(stem.with_name(f"{stem.name}.pkl"))["crop_bbox"]
            truth = truth[tuple(slice(int(start), int(stop)) for start, stop in box)]
        probabilities = content["softmax" if "softmax" in content else "probabilities"]
    if probabilities.shape[1:] != truth.shape:
        raise DataError(
            f"{path.name} is not of case {case.id}", received=probabilities.shape[1:], expected=truth.shape
        )
    return probabilities, truth


def _properties_of_v1(plan: Plan, prepared: Prepared, geometry: Geometry) -> dict:
    return {
        "original_size_of_raw_data": list(prepared.original_shape),
        "original_spacing": list(geometry.spacing_mm_zyx),
        "spacing_after_resampling": list(geometry.spacing_mm_zyx),
        "size_after_cropping": [part.stop - part.start for part in prepared.box],
        "crop_bbox": [[part.start, part.stop] for part in prepared.box],
        "itk_spacing": list(geometry.spacing_mm_zyx[::-1]),
        "itk_origin": list(geometry.origin_mm_xyz),
        "itk_direction": list(geometry.direction),
        "regions_class_order": plan.regions_class_order or None,
    }


def _properties_of_v2(plan: Plan, prepared: Prepared, case: Case) -> dict:
    sight, forward = sight_of_case(case), plan.transpose_forward
    box = [prepared.box[axis] for axis in forward]
    return {
        **_grid_of_reader(sight, case.require_geometry()),
        "spacing": list(sight.spacing_mm),
        "shape_before_cropping": tuple(prepared.original_shape[axis] for axis in forward),
        "bbox_used_for_cropping": [[part.start, part.stop] for part in box],
        "shape_after_cropping_and_before_resampling": tuple(prepared.cropped_shape),
    }


def _grid_of_reader(sight: Sight, geometry: Geometry) -> dict:
    """The grid under the name that the reader's own `write_seg` looks for; files without a grid need none."""
    if sight.affine is not None:
        # nibabel's axes are x, y, z: the reverse of an array's.
        turned = sight.affine @ np.linalg.inv(_affine_of_turn(sight.turn, geometry.size_zyx))
        return {"nibabel_stuff": {"original_affine": sight.affine, "reoriented_affine": turned}}
    return {
        "sitk_stuff": {
            "spacing": tuple(geometry.spacing_mm_zyx[::-1]),
            "origin": tuple(geometry.origin_mm_xyz),
            "direction": tuple(geometry.direction),
        }
    }


def _affine_of_turn(turn: Turn, size_zyx: Sequence[int]) -> np.ndarray:
    """The matrix (4, 4) from indices (x, y, z, 1) of the file to those of the turned image."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for place, (axis, is_reversed) in enumerate(zip(turn.axes, turn.reversed, strict=True)):
        matrix[2 - place, 2 - axis] = -1 if is_reversed else 1
        matrix[2 - place, 3] = size_zyx[axis] - 1 if is_reversed else 0
    return matrix
