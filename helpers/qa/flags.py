"""Flags that need no ground truth: how a mask differs from the others of its run, or from another run's.

| flag | of a case |
|---|---|
| empty | nothing is labelled |
| missing label | a label is missing that more than half of the cases have |
| border | a structure touches the border of the scan; volumes only |
| volume, components | the amount, or the number of connected parts, of a label is an outlier |
| rough surface | the roughness of a label (`mask_shape`) is an outlier, and more than a fifth above the median |
| holes | the number of holes in a label (`mask_shape`) is an outlier above the median |
| left and right | the label whose name says left is farther to the patient's right than the one that says right |
| disagreement | the mean Dice with another run's mask is below 0.9 |

An outlier is 3.5 robust standard deviations from the median of the run's cases that have the label, at least five.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from helpers.data.regions import bounding_box, label_components
from helpers.qa.mask_shape import centre_mm, count_holes, roughness
from helpers.run.atomic import write_json
from helpers.scoring.outliers import FEWEST_FOR_OUTLIERS, OUTLYING_Z, modified_z

LOWEST_AGREEMENT = 0.9  # mean Dice with another run below which a case is flagged
_SMALLEST_COMPONENT = 10
# Where all cases are equally smooth, the robust rule alone would flag invisible differences.
_ROUGHER_THAN_MEDIAN = 1.2
_LEFT = re.compile(r"(?<![a-z])left(?![a-z])", re.IGNORECASE)

Point = tuple[float, float, float]


@dataclass(frozen=True)
class MaskMeasures:
    """Measures of one mask by class index 1, 2, ...

    Attributes:
        voxels: voxels, or pixels, per class.
        components: connected components of at least ten voxels per class; parts that touch by a corner are one.
        at_border: whether a class touches the border of the image.
        voxel_size: in ml for a volume, 1 for a picture.
        unit: "ml" or "px".
        roughness: of a class's largest component; None if the class is absent, or that is small or thin. As the next
            two, it is defined in `mask_shape`, and empty in a cache of an earlier version.
        holes: per class.
        centres_mm: (x, y, z) in the LPS patient space per class; None if the class is absent or the sides of the
            image are unknown.
    """

    voxels: tuple[int, ...]
    components: tuple[int, ...]
    at_border: tuple[bool, ...]
    voxel_size: float
    unit: str
    roughness: tuple[float | None, ...] = ()
    holes: tuple[int, ...] = ()
    centres_mm: tuple[Point | None, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether the shapes were measured too; a cache of an earlier version lacks them."""
        return len(self.roughness) == len(self.holes) == len(self.centres_mm) == len(self.voxels)

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


def measure_mask(
    labels: np.ndarray,
    class_count: int,
    spacing_mm: tuple[float, ...] | None,
    affine_lps: np.ndarray | None = None,
) -> MaskMeasures:
    """Measures a mask.

    Args:
        labels: class indices (Z, Y, X) or (H, W), uint8.
        class_count: including the background.
        spacing_mm: of a volume; None for a picture.
        affine_lps: (4, 4), from voxel indices (x, y, z, 1) to LPS millimetres; None if the sides are unknown.
    """
    voxels = np.bincount(labels.ravel(), minlength=class_count)[1:class_count]
    spacing = spacing_mm or (1.0,) * labels.ndim
    found = [
        _measure_class(labels, index, spacing, affine_lps) if voxels[index - 1] else (0, False, None, 0, None)
        for index in range(1, class_count)
    ]
    components, border, rough, holes, centres = zip(*found, strict=True) if found else ((),) * 5
    size, unit = (1.0, "px") if spacing_mm is None else (math.prod(spacing_mm) / 1000, "ml")
    return MaskMeasures(tuple(map(int, voxels)), components, border, size, unit, rough, holes, centres)


def _measure_class(
    labels: np.ndarray, index: int, spacing: tuple[float, ...], affine_lps: np.ndarray | None
) -> tuple[int, bool, float | None, int, Point | None]:
    """Components, whether it touches the border, roughness, holes and centre of a class that has a voxel."""
    where = labels == index
    box, wider = bounding_box(where), bounding_box(where, margin=2)
    if box is None or wider is None:
        raise ValueError(f"class {index} has no voxel")
    at_border = any(
        side.start == 0 or side.stop == length for side, length in zip(box, labels.shape, strict=True) if length > 1
    )
    structure = where[wider]
    parts, sizes = label_components(structure, corners=True)
    rough = roughness(parts == int(sizes.argmax()), spacing)
    centre = None if affine_lps is None else centre_mm(structure, [side.start for side in wider], affine_lps)
    holes = count_holes(structure, labels[wider] == 0)
    components = int(np.count_nonzero(sizes >= _SMALLEST_COMPONENT)) or 1
    return components, at_border, rough, holes, centre


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
            tuple(content.get("roughness", ())),
            tuple(content.get("holes", ())),
            tuple(None if centre is None else _point(centre) for centre in content.get("centres_mm", ())),
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
    for case, flag in _flag_sides(measures, class_names):
        flags[case].append(flag)
    for case, agreement in (agreements or {}).items():
        if case in flags and agreement is not None and agreement < LOWEST_AGREEMENT:
            flags[case].append(Flag("disagreement", f"Dice {agreement:.3f} with the other run"))
    return flags


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
    if len(present) >= FEWEST_FOR_OUTLIERS:
        amounts = {case: own.amount(index) for case, own in present.items()}
        unit = next(iter(present.values())).unit
        yield from _flag_outliers("volume", amounts, f"{unit} of {name}")
        counts = {case: float(own.components[index - 1]) for case, own in present.items()}
        yield from _flag_outliers("components", counts, f"components of {name}")
        yield from _flag_shapes({case: own for case, own in present.items() if own.is_complete}, index, name)


def _flag_shapes(present: Mapping[str, MaskMeasures], index: int, name: str) -> Iterable[tuple[str, Flag]]:
    """The flags of one class for its surface and its holes: only more than usual is suspicious."""
    rough = {case: value for case, own in present.items() if (value := own.roughness[index - 1]) is not None}
    if len(rough) >= FEWEST_FOR_OUTLIERS:
        least = _ROUGHER_THAN_MEDIAN * float(np.median(list(rough.values())))
        unit = f"times the surface of the smoothed {name}"
        yield from _flag_outliers("rough surface", rough, unit, least)
    if len(present) >= FEWEST_FOR_OUTLIERS:
        holes = {case: float(own.holes[index - 1]) for case, own in present.items()}
        yield from _flag_outliers("holes", holes, f"holes in {name}", float(np.median(list(holes.values()))))


def _flag_sides(measures: Mapping[str, MaskMeasures], class_names: Sequence[str]) -> Iterable[tuple[str, Flag]]:
    """The flags of pairs of classes such as kidney_left and kidney_right that are on each other's side."""
    places = {name.lower(): place for place, name in enumerate(class_names[1:])}
    pairs = [(name, _LEFT.sub("right", name)) for name in places if _LEFT.search(name)]
    for left, right in pairs:
        if right not in places:
            continue
        for case, own in measures.items():
            ends = (own.centres_mm[places[left]], own.centres_mm[places[right]]) if own.is_complete else (None, None)
            if ends[0] is not None and ends[1] is not None and ends[0][0] < ends[1][0]:  # x grows to the left
                farther = f"{ends[1][0] - ends[0][0]:.4g} mm farther to the patient's right than {right}"
                yield case, Flag("left and right", f"{left} is {farther}")


def _flag_outliers(
    flag: str, values: Mapping[str, float], unit: str, least: float | None = None
) -> Iterable[tuple[str, Flag]]:
    """The outliers; only those that exceed `least`, if it is given."""
    median = np.median(list(values.values()))
    for (case, value), z in zip(values.items(), modified_z(list(values.values())), strict=True):
        if abs(z) > OUTLYING_Z and (least is None or value > least):
            yield case, Flag(flag, f"{value:.4g} {unit}, median {median:.4g}")


def _point(values: Sequence[float]) -> Point:
    x, y, z = values
    return float(x), float(y), float(z)
