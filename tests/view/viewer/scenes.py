"""Small cases in any orientation for the tests of the viewer."""

from __future__ import annotations

import itertools

import numpy as np
import SimpleITK as sitk

from helpers.data.geometry import Geometry

NAMES = ("background", "organ", "lesion")
SPACING_XYZ, ORIGIN_XYZ = (0.8, 1.5, 2.5), (12.0, -30.0, 7.0)


def directions() -> list[tuple[float, ...]]:
    """Twelve axis-aligned directions, left- and right-handed, and an oblique one, row-major."""
    found = []
    for order, signs in itertools.product(
        [(0, 1, 2), (2, 0, 1), (1, 0, 2)], [(1, 1, 1), (-1, 1, -1), (-1, -1, 1), (1, 1, -1)]
    ):
        matrix = np.zeros((3, 3))
        matrix[list(order), [0, 1, 2]] = signs
        found.append(tuple(matrix.ravel()))
    turn = np.deg2rad(20)
    oblique = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, -1]]
    return [*found, tuple(np.array(oblique).ravel())]


def to_sitk(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """The array on its grid as a SimpleITK image."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing_mm_zyx[::-1])
    image.SetOrigin(geometry.origin_mm_xyz)
    image.SetDirection(geometry.direction)
    return image


def grid(shape, direction=(1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)) -> Geometry:
    """A grid with a different spacing along each axis."""
    return Geometry(tuple(shape), SPACING_XYZ[::-1], ORIGIN_XYZ, tuple(direction))


def make_case(shape=(12, 14, 16)) -> dict[str, np.ndarray]:
    """Image, truth and a prediction with one large and one small error, (Z, Y, X)."""
    random = np.random.default_rng(5)
    image = random.normal(100, 20, shape).astype(np.float32)
    truth = np.zeros(shape, np.uint8)
    truth[2:9, 3:10, 4:12] = 1
    truth[4:6, 5:7, 6:8] = 2
    prediction = truth.copy()
    prediction[7, 3:8, 4:9] = 0  # missed: 25 voxels in one slice
    prediction[3, 12, 14] = 2  # false positive: one voxel
    return {"image": image, "truth": truth, "prediction": prediction}
