"""Lesions of a truth and of a prediction, one by one: which were found, which were missed, and what is none.

The matching is that of the BraTS challenges since 2023. Parts of the truth that lie close together are one lesion:
the truth is dilated, and the connected components of the dilated truth (26 neighbours) number the lesions; the voxels
of the truth itself do not change. The components of the prediction (26 neighbours) that touch a dilated lesion belong
to it, all of them as one. A component that touches none is false.

Source: Saluja et al., "BraTS 2023 lesion-wise performance metrics for segmentation challenges".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from helpers.data.regions import Box, bounding_box, label_components
from helpers.errors import DataError


@dataclass(frozen=True)
class LesionRule:
    """What counts as one lesion.

    Attributes:
        dilation: steps that the truth grows by, each to 18 neighbours, before its components are numbered.
        minimum_mm3: a lesion of the truth must be larger than this to count. What was predicted there is not false.
        penalty_mm: HD95 of a missed lesion, and of a false component.
    """

    dilation: int = 3
    minimum_mm3: float = 50.0
    penalty_mm: float = 374.0


@dataclass(frozen=True)
class Lesion:
    """One lesion of the truth, or one component of the prediction that is none.

    Attributes:
        kind: of a lesion, found or missed; false: predicted where there is no lesion.
        number: in `LesionMap.truth`; of a false one, in `LesionMap.prediction`.
        volume_mm3: of the lesion in the truth; of a false one, of the component.
        predicted_mm3: of the predicted components that belong to it.
        predictions: the numbers of these components.
        dice: of the lesion with these components; 0 if missed or false.
        centre: the voxel (Z, Y, X) of the lesion that is nearest to its centre of mass.
        extent: the smallest box around the lesion, on the case's grid.
        counts: whether it is large enough to count; a false one always is.
    """

    kind: Literal["found", "missed", "false"]
    number: int
    volume_mm3: float
    predicted_mm3: float
    predictions: tuple[int, ...]
    dice: float
    centre: tuple[int, ...]
    extent: Box
    counts: bool


@dataclass(frozen=True)
class LesionMap:
    """The lesions of one structure in one case.

    Attributes:
        lesions: those of the truth by number, then the false ones by number.
        truth: the number of the lesion at each voxel of `box`, 0 outside.
        prediction: the number of the predicted component at each voxel of `box`, 0 outside.
        box: the part of the case's grid (Z, Y, X) that holds both.
        shape: of the case's grid.
        spacing_mm: (Z, Y, X).
        rule: by which they were matched.
    """

    lesions: tuple[Lesion, ...]
    truth: np.ndarray
    prediction: np.ndarray
    box: Box
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    rule: LesionRule

    def of_kind(self, kind: str) -> list[Lesion]:
        """The lesions of a kind, those that are too small to count included."""
        return [lesion for lesion in self.lesions if lesion.kind == kind]

    def extent_of_component(self, number: int) -> Box:
        """The smallest box around a predicted component, on the case's grid."""
        return self._component_extents[number - 1]

    @cached_property
    def _component_extents(self) -> list[Box]:
        from scipy.ndimage import find_objects

        starts = [side.start for side in self.box]
        return [
            tuple(slice(start + side.start, start + side.stop) for start, side in zip(starts, part, strict=True))
            for part in find_objects(self.prediction.astype(np.int32))
        ]

    def on_grid(self, components: np.ndarray) -> np.ndarray:
        """`truth` or `prediction`, or a condition on them, on the case's whole grid."""
        whole = np.zeros(self.shape, components.dtype)
        whole[self.box] = components
        return whole


def find_lesions(
    prediction: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float], rule: LesionRule | None = None
) -> LesionMap:
    """Numbers the lesions of the truth and the components of the prediction, and matches them.

    Args:
        prediction: boolean (Z, Y, X).
        truth: boolean, of the same shape.
        spacing_mm: (Z, Y, X).
        rule: None: that of BraTS for adult gliomas.

    Raises:
        DataError: the shapes differ, or are not those of volumes.

    >>> truth = np.zeros((1, 1, 24), bool)
    >>> truth[..., 2:4] = truth[..., 20:23] = True
    >>> prediction = np.roll(truth, 1, axis=2)
    >>> prediction[..., 12] = True
    >>> prediction[..., 21:] = False
    >>> found = find_lesions(prediction, truth, (1, 1, 1), LesionRule(dilation=1, minimum_mm3=0))
    >>> [(lesion.kind, lesion.volume_mm3, lesion.dice, lesion.centre) for lesion in found.lesions]
    [('found', 2.0, 0.5, (0, 0, 2)), ('missed', 3.0, 0.0, (0, 0, 21)), ('false', 1.0, 0.0, (0, 0, 12))]
    """
    if prediction.shape != truth.shape or truth.ndim != 3:
        raise DataError("prediction and truth are not volumes of one shape", received=(prediction.shape, truth.shape))
    rule, spacing, shape = rule or LesionRule(), tuple(map(float, spacing_mm)), truth.shape
    box = bounding_box(prediction | truth, margin=rule.dilation) or (slice(0, 1),) * 3
    prediction, truth = prediction[box].astype(bool), truth[box].astype(bool)
    grown, _ = label_components(dilate(truth, rule.dilation), corners=True)
    components, sizes = label_components(prediction, corners=True)
    numbered = np.where(truth, grown, 0)
    parts = _Parts(box, math.prod(spacing), numbered, components, sizes)
    matches = _pairs(grown, components)
    lesions = [*_lesions_of_truth(parts, matches, rule), *_false_ones(parts, matches)]
    return LesionMap(tuple(lesions), numbered, components, box, shape, spacing, rule)


def dilate(mask: np.ndarray, steps: int) -> np.ndarray:
    """Dilates a boolean volume; each step adds the 18 neighbours that share a face or an edge.

    >>> ball = dilate(np.pad(np.ones((1, 1, 1), bool), 1), 1)
    >>> int(ball.sum()), bool(ball[0, 0, 0])
    (19, False)
    """
    for _ in range(steps):
        # The 18 neighbours are three squares of 3 x 3, one across each axis; each is two lines.
        along_z, along_y = _dilate_line(mask, 0), _dilate_line(mask, 1)
        mask = _dilate_line(along_z, 1) | _dilate_line(along_z, 2) | _dilate_line(along_y, 2)
    return mask


def _dilate_line(mask: np.ndarray, axis: int) -> np.ndarray:
    wider = mask.copy()
    before, after = [[slice(None)] * mask.ndim for _ in range(2)]
    before[axis], after[axis] = slice(None, -1), slice(1, None)
    wider[tuple(after)] |= mask[tuple(before)]
    wider[tuple(before)] |= mask[tuple(after)]
    return wider


@dataclass(frozen=True)
class _Parts:
    """Numbered lesions and components in a box of the grid; `sizes` are the voxels of each component."""

    box: Box
    voxel_mm3: float
    truth: np.ndarray
    prediction: np.ndarray
    sizes: np.ndarray

    def places(self, numbered: np.ndarray) -> Iterator[tuple[int, tuple[int, ...], Box, int]]:
        """Number, central voxel, extent and size of each part of `truth` or `prediction`."""
        from scipy.ndimage import find_objects

        starts = [side.start for side in self.box]
        for number, part in enumerate(find_objects(numbered.astype(np.int32)), start=1):
            voxels = np.argwhere(numbered[part] == number)
            nearest = voxels[np.argmin(((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1))]
            corner = [start + side.start for start, side in zip(starts, part, strict=True)]
            extent = [slice(first, first + side.stop - side.start) for first, side in zip(corner, part, strict=True)]
            centre = tuple(int(first + place) for first, place in zip(corner, nearest, strict=True))
            yield number, centre, tuple(extent), len(voxels)


def _pairs(first: np.ndarray, second: np.ndarray) -> dict[tuple[int, int], int]:
    """The voxels that two numberings share, by the pair of numbers."""
    both = (first > 0) & (second > 0)
    width = int(second.max(initial=0)) + 1
    keys = first[both].astype(np.int64) * width + second[both]
    most = (int(first.max(initial=0)) + 1) * width
    if most > max(keys.size, 1 << 20):  # most pairs do not occur: sorting takes less memory than counting
        names, numbers = np.unique(keys, return_counts=True)
        return {
            (int(name // width), int(name % width)): int(count) for name, count in zip(names, numbers, strict=True)
        }
    counts = np.bincount(keys, minlength=1)
    return {(int(name // width), int(name % width)): int(counts[name]) for name in np.flatnonzero(counts)}


def _lesions_of_truth(parts: _Parts, matches: dict[tuple[int, int], int], rule: LesionRule) -> Iterator[Lesion]:
    shared = _pairs(parts.truth, parts.prediction)
    partners: dict[int, list[int]] = {}
    for lesion, component in matches:
        partners.setdefault(lesion, []).append(component)
    for number, centre, extent, size in parts.places(parts.truth):
        own = tuple(partners.get(number, ()))
        predicted = int(parts.sizes[list(own)].sum())
        overlap = sum(shared.get((number, component), 0) for component in own)
        yield Lesion(
            "found" if own else "missed",
            number,
            size * parts.voxel_mm3,
            predicted * parts.voxel_mm3,
            own,
            2 * overlap / (size + predicted),
            centre,
            extent,
            size * parts.voxel_mm3 > rule.minimum_mm3,
        )


def _false_ones(parts: _Parts, matches: dict[tuple[int, int], int]) -> Iterator[Lesion]:
    matched = {component for _, component in matches}
    for number, centre, extent, size in parts.places(parts.prediction):
        if number not in matched:
            volume = size * parts.voxel_mm3
            yield Lesion("false", number, volume, volume, (number,), 0.0, centre, extent, True)
