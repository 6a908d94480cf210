"""Where two masks differ: voxel by voxel, the slice with the most of it, the largest connected part."""

from __future__ import annotations

import numpy as np

IGNORED = 255
# Codes of a comparison, and what they are called where a prediction is compared with a truth or with another run.
SAME, EXTRA, MISSING = 1, 2, 3
ERROR_NAMES = {SAME: "right", EXTRA: "too much or wrong label", MISSING: "missed"}
DIFFERENCE_NAMES = {SAME: "the same in both", EXTRA: "other label here", MISSING: "only in the other run"}


def compare_labels(labels: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Codes uint8 of the same shape: 0 background in both, SAME, EXTRA (labelled, but otherwise), MISSING.

    Voxels that the reference marks with 255 are not judged.
    """
    codes = np.zeros(labels.shape, np.uint8)
    differs = labels != reference
    codes[~differs & (labels > 0)] = SAME
    codes[differs & (labels > 0)] = EXTRA
    codes[differs & (labels == 0)] = MISSING
    codes[reference == IGNORED] = 0
    return codes


def worst_slice(labels: np.ndarray, reference: np.ndarray) -> int | None:
    """The index along the first axis with the most differing voxels; None where the masks are equal."""
    counts = [_differing(one, other) for one, other in zip(labels, reference, strict=True)]
    worst = int(np.argmax(counts))
    return worst if counts[worst] else None


def fullest_slice(labels: np.ndarray) -> int:
    """The index along the first axis with the most labelled voxels; the middle one where there is none."""
    counts = [np.count_nonzero(one) for one in labels]
    return int(np.argmax(counts)) if any(counts) else len(counts) // 2


def largest_error(codes: np.ndarray) -> tuple[int, int, int] | None:
    """A voxel of the largest connected part that is EXTRA or MISSING: the one nearest to the part's centre.

    Args:
        codes: from `compare_labels`, (Z, Y, X).

    Returns:
        (z, y, x), or None where nothing differs. Parts touch by faces, edges or corners.
    """
    from scipy.ndimage import find_objects, label

    wrong = codes >= EXTRA
    parts, count = label(wrong, np.ones((3, 3, 3)), output=np.int32)
    if not count:
        return None
    sizes = np.bincount(parts.ravel())
    largest = int(sizes[1:].argmax()) + 1
    box = find_objects(parts)[largest - 1]
    voxels = np.argwhere(parts[box] == largest)
    nearest = voxels[((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    return tuple(int(at + side.start) for at, side in zip(nearest, box, strict=True))


def _differing(labels: np.ndarray, reference: np.ndarray) -> int:
    return int(np.count_nonzero((labels != reference) & (reference != IGNORED)))
