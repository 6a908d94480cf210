"""What a mask says of itself: volumes, pieces, what touches the border."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from helpers.run.atomic import write_json

# Parts that touch by a corner are one: what is counted as pieces should be apart.
_SMALLEST_PIECE = 10


@dataclass(frozen=True)
class MaskMeasures:
    """Figures of one mask by class index 1, 2, ...: voxels, pieces and whether it touches the border.

    Pieces of fewer than ten voxels are not counted. `voxel_size` is in ml for a volume, 1 (pixel) for a picture.
    """

    voxels: tuple[int, ...]
    pieces: tuple[int, ...]
    at_border: tuple[bool, ...]
    voxel_size: float
    unit: str

    def amount(self, index: int) -> float:
        """Volume in ml or area in pixels of a class index of at least 1."""
        return self.voxels[index - 1] * self.voxel_size


def measure_mask(labels: np.ndarray, class_count: int, spacing_mm: tuple[float, ...] | None) -> MaskMeasures:
    """Measures a mask (Z, Y, X) or (H, W) of class indices.

    Args:
        labels: uint8.
        class_count: with the background.
        spacing_mm: of a volume; None for a picture.
    """
    voxels = np.bincount(labels.ravel(), minlength=class_count)[1:class_count]
    pieces, border = [], []
    for index in range(1, class_count):
        box = _box_of(labels, index) if voxels[index - 1] else None
        pieces.append(_count_pieces(labels[box] == index) if box else 0)
        sides = zip(box or (), labels.shape, strict=False)
        border.append(any(side.start == 0 or side.stop == length for side, length in sides if length > 1))
    size, unit = (1.0, "px") if spacing_mm is None else (math.prod(spacing_mm) / 1000, "ml")
    return MaskMeasures(tuple(map(int, voxels)), tuple(pieces), tuple(border), size, unit)


def remember_measures(path: Path, measures: MaskMeasures) -> MaskMeasures:
    """Keeps the figures of a mask beside the journals; the name holds the mask's hash."""
    write_json(path, asdict(measures))
    return measures


def recall_measures(path: Path) -> MaskMeasures | None:
    """Figures that were kept before, or None."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = ("voxels", "pieces", "at_border")
        return MaskMeasures(
            *(tuple(content[name]) for name in names), float(content["voxel_size"]), str(content["unit"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _box_of(labels: np.ndarray, index: int) -> tuple[slice, ...]:
    where = labels == index
    box = []
    for axis in range(labels.ndim):
        hit = np.flatnonzero(where.any(axis=tuple(a for a in range(labels.ndim) if a != axis)))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)


def _count_pieces(where: np.ndarray) -> int:
    from scipy.ndimage import label

    parts, _ = label(where, np.ones((3,) * where.ndim))
    sizes = np.bincount(parts.ravel())[1:]
    return int(np.count_nonzero(sizes >= _SMALLEST_PIECE)) or int(sizes.size > 0)
