"""Distances between the surfaces of a prediction and of a truth, and the scores that follow from them.

A surface consists of surface elements. Between eight neighbouring voxels of which some are inside and some outside
there is one element: it lies at the corner that the eight voxels share, and has the area of the marching-cubes
triangles between them. Beyond the border of the image everything is outside, so every surface is closed. The distance
of an element is the Euclidean distance in mm to the nearest element of the other surface, and it counts by its area.

This is the definition that the Medical Segmentation Decathlon, FLARE and BraTS (since 2023) score with. Tools that
count voxels of the border without their area, or that measure between continuous meshes, give other numbers for the
same masks: a distance differs by up to about a voxel, a percentile by more.

Source: Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for radiotherapy: deep learning
algorithm development and validation study", Journal of Medical Internet Research 23 (2021).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from helpers.data.regions import Box, bounding_box
from helpers.errors import DataError

_SLAB_BYTES = 1 << 20  # of a slab of slices: it stays in the cache of a core
_CORNERS = tuple(itertools.product((0, 1), repeat=3))  # (z, y, x) of the eight voxels; the first has the highest bit
_LEAF = 32
# A search tree is faster than a distance transform unless most voxels are at a surface.
_MOST_IN_TREE = 1_000_000
_VOXELS_PER_ELEMENT = 40
_DIGITS = 5  # of a distance in single precision, so that one of exactly the tolerance is not missed
_THREADS = 2


@dataclass(frozen=True)
class Surfaces:
    """The surface elements of a prediction and of a truth.

    Attributes:
        to_truth: distances in mm of the prediction's elements to the truth's surface; infinite if there is none.
        to_prediction: distances of the truth's elements to the prediction's surface.
        predicted_areas: of the prediction's elements in mm², in the order of `to_truth`.
        true_areas: of the truth's elements.
    """

    to_truth: np.ndarray
    to_prediction: np.ndarray
    predicted_areas: np.ndarray
    true_areas: np.ndarray

    @property
    def both_empty(self) -> bool:
        """Whether there is no surface at all."""
        return not self.to_truth.size and not self.to_prediction.size

    @property
    def one_empty(self) -> bool:
        """Whether only one of the two masks has a surface."""
        return bool(self.to_truth.size) != bool(self.to_prediction.size)

    def surface_dice(self, tolerance_mm: float) -> float | None:
        """The normalised surface Dice (NSD): the share of both surfaces that is within the tolerance of the other.

        Returns:
            0..1; 0 if one mask is empty, None if both are.
        """
        total = self.predicted_areas.sum() + self.true_areas.sum()
        near = (
            self.predicted_areas[self.to_truth <= tolerance_mm].sum()
            + self.true_areas[self.to_prediction <= tolerance_mm].sum()
        )
        return float(near / total) if total else None

    def hausdorff(self, percent: float = 95.0) -> float | None:
        """The larger of the two distances that this percentage of a surface's area keeps to the other surface.

        Returns:
            In mm; infinite if one mask is empty, None if both are.
        """
        if self.both_empty or self.one_empty:
            return None if self.both_empty else math.inf
        return max(
            _percentile(self.to_truth, self.predicted_areas, percent),
            _percentile(self.to_prediction, self.true_areas, percent),
        )

    def average_distance(self) -> float | None:
        """The average symmetric surface distance (ASSD): the mean distance of both surfaces' elements by area.

        Returns:
            In mm; infinite if one mask is empty, None if both are.
        """
        if self.both_empty or self.one_empty:
            return None if self.both_empty else math.inf
        moment = (self.to_truth * self.predicted_areas).sum() + (self.to_prediction * self.true_areas).sum()
        return float(moment / (self.predicted_areas.sum() + self.true_areas.sum()))


def surfaces_of_masks(prediction: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float]) -> Surfaces:
    """The surfaces of two boolean volumes (Z, Y, X).

    Raises:
        DataError: as `surfaces_of_structures`.

    >>> truth = np.zeros((5, 5, 9), bool)
    >>> truth[1:4, 1:4, 1:4] = True
    >>> found = surfaces_of_masks(np.roll(truth, 2, axis=2), truth, (1, 1, 1))
    >>> found.hausdorff(), round(found.surface_dice(tolerance_mm=1), 3)
    (2.0, 0.754)
    """
    return surfaces_of_structures(prediction.astype(np.uint8), truth.astype(np.uint8), {"": (1,)}, spacing_mm)[""]


def surfaces_of_structures(
    prediction: np.ndarray,
    truth: np.ndarray,
    structures: Mapping[str, Sequence[int]],
    spacing_mm: Sequence[float],
) -> dict[str, Surfaces]:
    """The surfaces of several structures of the same two label volumes.

    Each volume is searched once for places where labels meet; every structure is then worked out there alone.

    Args:
        prediction: labels (Z, Y, X), uint8; 0 is outside.
        truth: of the same shape.
        structures: the labels of each structure by its name.
        spacing_mm: (Z, Y, X).

    Raises:
        DataError: the shapes differ, or are not those of volumes.
    """
    if prediction.shape != truth.shape or truth.ndim != 3:
        raise DataError("prediction and truth are not volumes of one shape", received=(prediction.shape, truth.shape))
    spacing = np.asarray(spacing_mm, np.float64)
    box = bounding_box((prediction | truth) != 0)
    if box is None:
        return {name: Surfaces(*(np.zeros(0) for _ in range(4))) for name in structures}
    meetings = [_meetings(volume, box) for volume in (prediction, truth)]
    areas = surface_areas(tuple(spacing))
    found = {}
    for name, labels in structures.items():
        ours, theirs = (meeting.of_labels(labels, areas) for meeting in meetings)
        found[name] = Surfaces(
            _distances(ours, theirs, spacing),
            _distances(theirs, ours, spacing),
            ours.areas,
            theirs.areas,
        )
    return found


@dataclass(frozen=True)
class _Elements:
    """The surface elements of one structure: places on the grid of corners, ascending, and areas in mm²."""

    places: np.ndarray
    areas: np.ndarray
    grid: tuple[int, ...]

    def points(self, which: np.ndarray | slice) -> np.ndarray:
        """Places as (N, 3) numbers of slices, rows and columns."""
        return np.stack(np.unravel_index(self.places[which], self.grid), axis=1)


@dataclass(frozen=True)
class _Meetings:
    """The corners of a label volume around which the eight voxels are not all of one label.

    Attributes:
        places: on the grid of corners, ascending.
        labels: of the voxels around each, (8, N) in the order of `_CORNERS`.
        grid: how many corners there are along each axis.
    """

    places: np.ndarray
    labels: np.ndarray
    grid: tuple[int, ...]

    def of_labels(self, labels: Sequence[int], areas: np.ndarray) -> _Elements:
        """The surface elements of the union of some labels."""
        inside = np.zeros(256, bool)
        inside[list(labels)] = True
        codes = np.packbits(inside[self.labels], axis=0)[0]
        at_surface = (codes != 0) & (codes != 255)
        return _Elements(self.places[at_surface], areas[codes[at_surface]], self.grid)


def _meetings(volume: np.ndarray, box: Box) -> _Meetings:
    """Searches the box of a volume, slab by slab; beyond the box everything is outside."""
    part = volume[box]
    depth, rows, columns = (side + 1 for side in part.shape)
    thickness = max(1, _SLAB_BYTES // (rows * columns))
    starts = range(0, depth, thickness)
    with ThreadPoolExecutor(_THREADS) as threads:
        found = list(threads.map(lambda start: _search_slab(part, start, min(start + thickness, depth)), starts))
    places, labels = zip(*found, strict=True)
    return _Meetings(np.concatenate(places), np.concatenate(labels, axis=1), (depth, rows, columns))


def _search_slab(part: np.ndarray, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """The meetings at the corners of the planes start..stop, between the slices start - 1..stop of a volume."""
    depth, rows, columns = part.shape
    slab = np.zeros((stop - start + 1, rows + 2, columns + 2), np.uint8)
    first, last = max(0, start - 1), min(depth, stop)
    slab[first - start + 1 : last - start + 1, 1:-1, 1:-1] = part[first:last]
    differs = slab[:, :, 1:] ^ slab[:, :, :-1]
    differs = differs[:, 1:] | differs[:, :-1] | (slab[:, 1:, 1:] ^ slab[:, :-1, 1:])
    differs = differs[1:] | differs[:-1] | (slab[1:, 1:, 1:] ^ slab[:-1, 1:, 1:])
    found = np.flatnonzero(differs != 0)
    plane, row, column = np.unravel_index(found, differs.shape)
    corner = (plane * slab.shape[1] + row) * slab.shape[2] + column
    steps = [(z * slab.shape[1] + y) * slab.shape[2] + x for z, y, x in _CORNERS]
    around = slab.ravel()
    return found + start * differs[0].size, np.stack([around[corner + step] for step in steps])


def _distances(elements: _Elements, others: _Elements, spacing: np.ndarray) -> np.ndarray:
    """The distance in mm of each element to the nearest of the others; infinite if there are none."""
    distances = np.zeros(elements.places.size)
    if not others.places.size:
        return distances + np.inf
    nearest = np.searchsorted(others.places, elements.places).clip(max=others.places.size - 1)
    apart = np.flatnonzero(others.places[nearest] != elements.places)
    if apart.size:
        crowded = apart.size + others.places.size > max(_MOST_IN_TREE, math.prod(others.grid) // _VOXELS_PER_ELEMENT)
        measure = _measure_on_grid if crowded else _measure_in_tree
        distances[apart] = measure(elements, apart, others, spacing)
    return distances


def _measure_in_tree(elements: _Elements, which: np.ndarray, others: _Elements, spacing: np.ndarray) -> np.ndarray:
    from scipy.spatial import KDTree

    points, targets = elements.points(which), others.points(slice(None))
    tree = KDTree(targets * spacing, leafsize=_LEAF, compact_nodes=False, balanced_tree=False)
    _, found = tree.query(points * spacing, workers=_THREADS)
    # From whole steps, so that a distance of exactly the tolerance is not missed by rounding.
    return np.sqrt((((points - targets[found]) * spacing) ** 2).sum(axis=1))


def _measure_on_grid(elements: _Elements, which: np.ndarray, others: _Elements, spacing: np.ndarray) -> np.ndarray:
    """As `_measure_in_tree`, by a distance transform, for masks that are mostly surface, such as noise."""
    import SimpleITK as sitk

    grid = np.zeros(others.grid, np.uint8)
    grid.ravel()[others.places] = 1
    image = sitk.GetImageFromArray(grid)
    image.SetSpacing(spacing[::-1].tolist())
    squares = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=True, useImageSpacing=True)
    found = sitk.GetArrayViewFromImage(squares).ravel()[elements.places[which]].astype(np.float64)
    return np.round(np.sqrt(np.abs(found)), _DIGITS)


def _percentile(distances: np.ndarray, areas: np.ndarray, percent: float) -> float:
    order = np.lexsort((areas, distances))
    covered = np.cumsum(areas[order])
    reached = int(np.searchsorted(covered / areas.sum(), percent / 100))
    return float(distances[order[min(reached, order.size - 1)]])


@lru_cache(maxsize=8)
def surface_areas(spacing_mm: tuple[float, ...]) -> np.ndarray:
    """The area in mm² of the surface element between eight voxels, for each of the 256 ways to be inside.

    The eight bits are the voxels in C order, the highest the first. Voxels that share a face are joined; the smaller
    one of inside and outside is followed, and its parts are cut off the cube through the middles of its edges.

    >>> areas = surface_areas((1.0, 1.0, 1.0))
    >>> areas[0b00001111], round(float(areas[0b00000001]), 4)
    (np.float64(1.0), 0.2165)
    """
    z, y, x = spacing_mm
    faces = np.array([y * x, z * x, z * y])  # in mm², by the axis that a face is across
    areas = np.zeros(256)
    for code in range(1, 255):
        inside = {corner for bit, corner in enumerate(_CORNERS) if code & (128 >> bit)}
        fewer = inside if len(inside) <= 4 else set(_CORNERS) - inside
        areas[code] = sum(_area_of_part(part, faces) for part in _parts(fewer))
    return areas


def _parts(corners: set[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """Corners of a cube in groups that are joined by its edges."""
    left = set(corners)
    while left:
        part = [left.pop()]
        for corner in part:
            near = {other for other in left if _steps(corner, other) == 1}
            left -= near
            part += sorted(near)
        yield part


def _steps(corner: tuple[int, ...], other: tuple[int, ...]) -> int:
    return sum(map(int.__ne__, corner, other))


def _area_of_part(part: list[tuple[int, ...]], faces: np.ndarray) -> float:
    """The area of the triangles that cut one to four joined corners off a cube."""

    def area(*axes: int) -> float:
        return float(np.sqrt((faces[list(axes)] ** 2).sum()))

    edges = [_axis_between(one, other) for one, other in itertools.combinations(part, 2) if _steps(one, other) == 1]
    missing = [axis for axis in range(3) if axis not in edges]
    if len(part) == 1:
        return area(0, 1, 2) / 8
    if len(part) == 2:
        return area(*missing) / 2
    if len(part) == 3:
        return area(*missing) / 2 + area(0, 1, 2) * 3 / 8
    if missing:  # a face
        return area(*missing)
    if max(sum(_steps(one, other) == 1 for other in part) for one in part) == 3:  # a corner with all its neighbours
        return area(0, 1, 2) * 3 / 4
    # A path along all three axes: its middle edge joins the two corners that have two neighbours.
    middle = _axis_between(*(one for one in part if sum(_steps(one, other) == 1 for other in part) == 2))
    return area(0, 1, 2) / 2 + sum(area(middle, axis) for axis in range(3) if axis != middle) / 4


def _axis_between(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return next(axis for axis in range(3) if one[axis] != other[axis])
