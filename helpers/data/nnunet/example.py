"""One window of a case, rich in what is marked: what the forms of a model are compared on."""

from __future__ import annotations

import numpy as np

from helpers.data.case import Case
from helpers.data.nnunet.plan import Plan
from helpers.data.nnunet.preprocess import Prepared, prepare_case


def window_around_truth(case: Case, plan: Plan) -> np.ndarray:
    """The plan's window (C, *window) around the middle of what is marked, or of the case where nothing is."""
    prepared = prepare_case(case.image, case.geometry.spacing_mm_zyx, plan)
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
    """Centre of what is marked, in voxels of the prepared image; the image's own centre where nothing is."""
    sizes = prepared.image.shape[1:]
    inside = None if case.truth is None else case.truth[prepared.box].transpose(plan.transpose_forward)
    if inside is None or not inside.any():
        return [size / 2 for size in sizes]
    return [
        float(np.median(hit)) * size / cropped
        for hit, size, cropped in zip(np.nonzero(inside), sizes, prepared.cropped_shape, strict=True)
    ]
