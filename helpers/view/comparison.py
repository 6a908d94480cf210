"""Compares two masks: which voxels differ and how, the slice that differs most, the largest connected difference."""

from __future__ import annotations

import numpy as np

from helpers.data.regions import bounding_box, label_components
from helpers.view.palette import FALSE_NEGATIVE, FALSE_POSITIVE, TRUE_POSITIVE

IGNORED = 255  # the label of voxels that a ground truth leaves unjudged
# The codes of a comparison, their colours, and their names when the reference is a truth or another run.
SAME, EXTRA, MISSING = 1, 2, 3
COLOURS = {SAME: TRUE_POSITIVE, EXTRA: FALSE_POSITIVE, MISSING: FALSE_NEGATIVE}
ERROR_NAMES = {SAME: "correct", EXTRA: "false positive or wrong label", MISSING: "missed"}
LESION_NAMES = {SAME: "found lesion", EXTRA: "false lesion", MISSING: "missed lesion"}
DIFFERENCE_NAMES = {SAME: "same in both runs", EXTRA: "different label in this run", MISSING: "only in the other run"}


def compare_labels(labels: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Codes each voxel by how it differs from a reference.

    Args:
        labels: class indices of any shape.
        reference: of the same shape; voxels marked 255 are not judged.

    Returns:
        uint8 of the same shape: 0 where both are background, SAME, EXTRA (labelled, but not as in the reference) or
        MISSING (labelled in the reference only).

    >>> compare_labels(np.array([0, 1, 2, 1, 0]), np.array([0, 1, 1, 0, 2])).tolist()
    [0, 1, 2, 2, 3]
    """
    codes = np.zeros(labels.shape, np.uint8)
    differs = labels != reference
    codes[~differs & (labels > 0)] = SAME
    codes[differs & (labels > 0)] = EXTRA
    codes[differs & (labels == 0)] = MISSING
    codes[reference == IGNORED] = 0
    return codes


def worst_slice(labels: np.ndarray, reference: np.ndarray) -> int | None:
    """The index along the first axis with the most differing voxels; None if the masks are equal."""
    counts = [_count_differing(one, other) for one, other in zip(labels, reference, strict=True)]
    worst = int(np.argmax(counts))
    return worst if counts[worst] else None


def fullest_slice(labels: np.ndarray) -> int:
    """The index along the first axis with the most labelled voxels; the middle one if the mask is empty."""
    counts = [np.count_nonzero(one) for one in labels]
    return int(np.argmax(counts)) if any(counts) else len(counts) // 2


def largest_error(codes: np.ndarray) -> tuple[int, int, int] | None:
    """Finds the largest connected part that is EXTRA or MISSING, and its voxel nearest to the part's centre.

    Parts are connected across faces, edges and corners.

    Args:
        codes: from `compare_labels`, (Z, Y, X).

    Returns:
        (z, y, x), or None if nothing differs.
    """
    components, sizes = label_components(codes >= EXTRA, corners=True)
    largest = components == sizes.argmax()
    box = bounding_box(largest) if sizes.any() else None
    if box is None:
        return None
    voxels = np.argwhere(largest[box])
    z, y, x = (int(at + side.start) for at, side in zip(central_point(voxels), box, strict=True))
    return z, y, x


def central_point(points: np.ndarray) -> np.ndarray:
    """The point nearest to the mean of all points.

    Args:
        points: (N, D) with N of at least 1.

    >>> central_point(np.array([[0, 0], [1, 1], [5, 5]])).tolist()
    [1, 1]
    """
    return points[((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin()]


def _count_differing(labels: np.ndarray, reference: np.ndarray) -> int:
    return int(np.count_nonzero((labels != reference) & (reference != IGNORED)))
