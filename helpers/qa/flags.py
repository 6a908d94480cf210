"""Flags that need no truth: what makes a mask unlike the others, or unlike another device's."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from helpers.data.regions import bounding_box, label_components
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
        box = bounding_box(labels == index) if voxels[index - 1] else None
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


def _count_pieces(where: np.ndarray) -> int:
    _, sizes = label_components(where, corners=True)
    return int(np.count_nonzero(sizes >= _SMALLEST_PIECE)) or int(len(sizes) > 1)


# Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993): modified z-scores above 3.5 are outliers.
_OUTLYING_Z = 3.5
_FEWEST_CASES = 5
LEAST_AGREEMENT = 0.9


@dataclass(frozen=True)
class Flag:
    """One reason to look at a mask first."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def flag_cases(
    measures: Mapping[str, MaskMeasures],
    class_names: Sequence[str],
    agreements: Mapping[str, float | None] | None = None,
) -> dict[str, list[Flag]]:
    """The flags of every case of a run.

    Args:
        measures: by case.
        class_names: of the class indices.
        agreements: by case, the mean Dice over labels between this run's mask and another's; None where it is not
            known.
    """
    flags: dict[str, list[Flag]] = {case: [] for case in measures}
    for case, own in measures.items():
        if not any(own.voxels):
            flags[case].append(Flag("empty", "nothing is marked"))
    for index, name in enumerate(class_names):
        if index:
            for case, found in _flag_class(measures, index, name).items():
                flags[case] += found
    for case, agreement in (agreements or {}).items():
        if case in flags and agreement is not None and agreement < LEAST_AGREEMENT:
            flags[case].append(Flag("disagreement", f"Dice {agreement:.3f} with the other run"))
    return flags


def modified_z(values: Sequence[float]) -> np.ndarray:
    """How far each value lies from the median, in robust standard deviations; zeros where all are equal."""
    values = np.asarray(values, float)
    away = values - np.median(values)
    spread = np.median(np.abs(away)) / 0.6745
    if spread == 0:  # more than half are equal: the mean deviation tells the others apart
        spread = 1.253314 * np.abs(away).mean()
    return away / spread if spread else np.zeros_like(away)


def _flag_class(measures: Mapping[str, MaskMeasures], index: int, name: str) -> dict[str, list[Flag]]:
    found: dict[str, list[Flag]] = {case: [] for case in measures}
    present = {case: own for case, own in measures.items() if own.voxels[index - 1]}
    if len(present) * 2 > len(measures):
        for case in measures.keys() - present.keys():
            reason = f"no {name}, which {len(present)} of {len(measures)} cases have"
            found[case].append(Flag("missing label", reason))
    for case, own in present.items():
        # What a photograph shows often runs out of its frame; what a scan shows was meant to be inside.
        if own.unit == "ml" and own.at_border[index - 1]:
            found[case].append(Flag("border", f"{name} touches the border of the scan"))
    if len(present) >= _FEWEST_CASES:
        cases = list(present)
        amounts = [present[case].amount(index) for case in cases]
        pieces = [present[case].pieces[index - 1] for case in cases]
        unit = next(iter(present.values())).unit
        for kind, values, text in (
            ("volume", amounts, f"{{:.4g}} {unit} of {name}"),
            ("pieces", pieces, f"{{}} pieces of {name}"),
        ):
            for case, value, z in zip(cases, values, modified_z(values), strict=True):
                if abs(z) > _OUTLYING_Z:
                    reason = f"{text.format(value)}, median {np.median(values):.4g}"
                    found[case].append(Flag(kind, reason))
    return found
