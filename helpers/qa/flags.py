"""Flags that need no ground truth: how a mask differs from the others of its run, or from another run's."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from helpers.data.regions import bounding_box, label_components
from helpers.run.atomic import write_json

LOWEST_AGREEMENT = 0.9  # mean Dice with another run below which a case is flagged
# Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993): modified z-scores above 3.5 are outliers.
_OUTLYING_Z = 3.5
_FEWEST_CASES = 5  # fewer have no meaningful outliers
_SMALLEST_COMPONENT = 10


@dataclass(frozen=True)
class MaskMeasures:
    """Measures of one mask by class index 1, 2, ...

    Attributes:
        voxels: voxels, or pixels, per class.
        components: connected components of at least ten voxels per class; parts that touch by a corner are one.
        at_border: whether a class touches the border of the image.
        voxel_size: in ml for a volume, 1 for a picture.
        unit: "ml" or "px".
    """

    voxels: tuple[int, ...]
    components: tuple[int, ...]
    at_border: tuple[bool, ...]
    voxel_size: float
    unit: str

    def amount(self, index: int) -> float:
        """The volume in ml, or the area in pixels, of a class index of at least 1."""
        return self.voxels[index - 1] * self.voxel_size


@dataclass(frozen=True)
class Flag:
    """One reason to review a mask first."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def measure_mask(labels: np.ndarray, class_count: int, spacing_mm: tuple[float, ...] | None) -> MaskMeasures:
    """Measures a mask.

    Args:
        labels: class indices (Z, Y, X) or (H, W), uint8.
        class_count: including the background.
        spacing_mm: of a volume; None for a picture.
    """
    voxels = np.bincount(labels.ravel(), minlength=class_count)[1:class_count]
    components, border = [], []
    for index in range(1, class_count):
        box = bounding_box(labels == index) if voxels[index - 1] else None
        components.append(_count_components(labels[box] == index) if box else 0)
        sides = zip(box or (), labels.shape, strict=False)
        border.append(any(side.start == 0 or side.stop == length for side, length in sides if length > 1))
    size, unit = (1.0, "px") if spacing_mm is None else (math.prod(spacing_mm) / 1000, "ml")
    return MaskMeasures(tuple(map(int, voxels)), tuple(components), tuple(border), size, unit)


def save_measures(path: Path, measures: MaskMeasures) -> None:
    """Caches the measures of a mask; the file's name holds the mask's hash."""
    write_json(path, asdict(measures))


def load_measures(path: Path) -> MaskMeasures | None:
    """Reads cached measures; None if there are none, or the file is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return MaskMeasures(
            tuple(content["voxels"]),
            tuple(content["components"]),
            tuple(content["at_border"]),
            float(content["voxel_size"]),
            str(content["unit"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def flag_cases(
    measures: Mapping[str, MaskMeasures],
    class_names: Sequence[str],
    agreements: Mapping[str, float | None] | None = None,
) -> dict[str, list[Flag]]:
    """Finds the flags of every case of a run.

    Args:
        measures: by case.
        class_names: by class index.
        agreements: by case, the mean Dice over labels between this run's mask and another's; None if unknown.
    """
    flags: dict[str, list[Flag]] = {case: [] for case in measures}
    for case, own in measures.items():
        if not any(own.voxels):
            flags[case].append(Flag("empty", "nothing is labelled"))
    for index, name in enumerate(class_names):
        if index:
            for case, flag in _flag_class(measures, index, name):
                flags[case].append(flag)
    for case, agreement in (agreements or {}).items():
        if case in flags and agreement is not None and agreement < LOWEST_AGREEMENT:
            flags[case].append(Flag("disagreement", f"Dice {agreement:.3f} with the other run"))
    return flags


def modified_z(values: Sequence[float]) -> np.ndarray:
    """How far each value is from the median, in robust standard deviations; zeros if all are equal.

    >>> modified_z([1, 2, 3, 4, 100]).round(2).tolist()
    [-1.35, -0.67, 0.0, 0.67, 65.43]
    """
    away = np.asarray(values, float) - np.median(values)
    spread = np.median(np.abs(away)) / 0.6745
    if spread == 0:  # more than half are equal: the mean absolute deviation separates the others
        spread = 1.253314 * np.abs(away).mean()
    return away / spread if spread else np.zeros_like(away)


def _count_components(where: np.ndarray) -> int:
    _, sizes = label_components(where, corners=True)
    return int(np.count_nonzero(sizes >= _SMALLEST_COMPONENT)) or int(len(sizes) > 1)


def _flag_class(measures: Mapping[str, MaskMeasures], index: int, name: str) -> Iterable[tuple[str, Flag]]:
    """The flags of one class, with their cases."""
    present = {case: own for case, own in measures.items() if own.voxels[index - 1]}
    if len(present) * 2 > len(measures):
        reason = f"no {name}, which {len(present)} of {len(measures)} cases have"
        yield from ((case, Flag("missing label", reason)) for case in measures if case not in present)
    for case, own in present.items():
        # An object in a photograph often extends beyond the frame; a structure in a scan should be inside.
        if own.unit == "ml" and own.at_border[index - 1]:
            yield case, Flag("border", f"{name} touches the border of the scan")
    if len(present) >= _FEWEST_CASES:
        amounts = {case: own.amount(index) for case, own in present.items()}
        unit = next(iter(present.values())).unit
        yield from _flag_outliers("volume", amounts, f"{unit} of {name}")
        counts = {case: float(own.components[index - 1]) for case, own in present.items()}
        yield from _flag_outliers("components", counts, f"components of {name}")


def _flag_outliers(flag: str, values: Mapping[str, float], unit: str) -> Iterable[tuple[str, Flag]]:
    median = np.median(list(values.values()))
    for (case, value), z in zip(values.items(), modified_z(list(values.values())), strict=True):
        if abs(z) > _OUTLYING_Z:
            yield case, Flag(flag, f"{value:.4g} {unit}, median {median:.4g}")
