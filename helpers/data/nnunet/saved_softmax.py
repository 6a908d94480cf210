"""Saves probabilities next to a mask, in the format that each nnU-Net version writes and its ensembling reads.

v1 (nnunet/inference/segmentation_export.py): `<case>.npz` with `softmax` float16 (C, Z, Y, X) on the cropped grid.
v2 (nnunetv2/inference/export_prediction.py): `<case>.npz` with `probabilities` float32 on the full grid of the case,
where voxels outside the crop are background. Both come with a `<case>.pkl` of plain values that contains the
position of the crop; v2 reads the grid from it too.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from helpers.data.geometry import Geometry
from helpers.data.nnunet.preprocess import Prepared
from helpers.run.atomic import atomic_path


def write_softmax(
    stem: Path, planes: Iterable[np.ndarray], classes: int, prepared: Prepared, geometry: Geometry, version: int
) -> None:
    """Writes `<stem>.npz` and `<stem>.pkl`.

    Args:
        stem: path of the two files without suffix.
        planes: probabilities (C, Y, X) of the cropped grid in the plan's axes, first plane to last.
        classes: number of classes, C.
        prepared: the prepared case, with the position of the crop.
        geometry: grid of the case.
        version: 1 or 2.
    """
    dtype = np.float16 if version == 1 else np.float32
    cropped = np.empty((classes, *prepared.cropped_shape), dtype)
    for index, plane in enumerate(planes):
        cropped[:, index] = plane
    cropped = cropped.transpose(0, *(axis + 1 for axis in prepared.transpose_backward))
    if version == 1:
        content, properties = {"softmax": cropped}, _properties_of_v1(prepared, geometry)
    else:
        full = np.zeros((classes, *prepared.original_shape), dtype)
        full[0] = 1
        full[(slice(None), *prepared.box)] = cropped
        content, properties = {"probabilities": full}, _properties_of_v2(prepared, geometry)
    with atomic_path(stem.with_name(f"{stem.name}.npz")) as path:
        np.savez_compressed(path, allow_pickle=False, **content)
    with atomic_path(stem.with_name(f"{stem.name}.pkl")) as path:
        path.write_bytes(pickle.dumps(properties))


def _properties_of_v1(prepared: Prepared, geometry: Geometry) -> dict:
    return {
        "original_size_of_raw_data": list(prepared.original_shape),
        "original_spacing": list(geometry.spacing_mm_zyx),
        "spacing_after_resampling": list(geometry.spacing_mm_zyx),
        "size_after_cropping": [part.stop - part.start for part in prepared.box],
        "crop_bbox": [[part.start, part.stop] for part in prepared.box],
        "itk_spacing": list(geometry.spacing_mm_zyx[::-1]),
        "itk_origin": list(geometry.origin_mm_xyz),
        "itk_direction": list(geometry.direction),
        "regions_class_order": None,
    }


def _properties_of_v2(prepared: Prepared, geometry: Geometry) -> dict:
    return {
        "sitk_stuff": {
            "spacing": tuple(geometry.spacing_mm_zyx[::-1]),
            "origin": tuple(geometry.origin_mm_xyz),
            "direction": tuple(geometry.direction),
        },
        "spacing": list(geometry.spacing_mm_zyx),
        "shape_before_cropping": tuple(prepared.original_shape),
        "bbox_used_for_cropping": [[part.start, part.stop] for part in prepared.box],
        "shape_after_cropping_and_before_resampling": tuple(prepared.cropped_shape),
    }
