"""The anatomy of the demo brains: the MNI ICBM 152 template under random deformations.

Source: Fonov et al., "Unbiased average age-appropriate atlases for pediatric studies", NeuroImage 54 (2011),
symmetric version 2009a. The files are described in `anatomy/README.md`, their licence is `anatomy/LICENSE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from helpers.data.regions import label_components
from helpers.data.volume import read_volume
from helpers.demo.shapes import smooth_field

SIZE_ZYX = (160, 192, 152)
_FOLDER = Path(__file__).parent / "anatomy"


@dataclass(frozen=True)
class Anatomy:
    """One brain on a 1 mm grid in LPS order (z up, y to posterior, x to the left); every array is (Z, Y, X).

    Attributes:
        t1: T1 intensity of the template; white matter is near 1.
        gm, wm, csf: float32 fractions, with a sum of 1 in the brain and 0 outside.
        depth_mm: distance to the surface of the brain.
        ventricle_mm: distance to the ventricles.
        brain: boolean mask.
    """

    t1: np.ndarray
    gm: np.ndarray
    wm: np.ndarray
    csf: np.ndarray
    depth_mm: np.ndarray
    ventricle_mm: np.ndarray
    brain: np.ndarray


def bend_anatomy(rng: np.random.Generator) -> Anatomy:
    """Deforms the template by a random flip, an affine map and two smooth displacement fields.

    Args:
        rng: the only source of randomness; the same state gives the same bytes.

    Raises:
        DataError: a file of the template is missing or damaged.
    """
    from scipy import ndimage

    template = load_template()
    if rng.random() < 0.5:
        template = template[:, :, :, ::-1]
    coordinates = _random_coordinates(rng)
    t1, gm, wm, depth_mm, ventricle_mm = (
        ndimage.map_coordinates(channel, coordinates, order=1, mode="nearest") for channel in template
    )
    brain = depth_mm > 0.5
    sharpness = rng.uniform(1.4, 2.0)
    csf = np.clip(1 - gm - wm, 0, 1)
    # As an average of 152 people the template is blurred; the power sharpens the edges to those of one person.
    fractions = [np.where(brain, np.power(fraction, sharpness), 0) for fraction in (gm, wm, csf)]
    total = np.maximum(fractions[0] + fractions[1] + fractions[2], 1e-6)
    gm, wm, csf = (np.divide(fraction, total, dtype=np.float32) for fraction in fractions)
    return Anatomy(t1, gm, wm, csf, depth_mm, ventricle_mm, brain)


@lru_cache(maxsize=1)
def load_template() -> np.ndarray:
    """The template as (5, Z, Y, X) float32: T1, grey matter, white matter, depth and ventricle distance in mm."""
    from scipy import ndimage

    t1, gm, wm = (
        read_volume(_FOLDER / f"{name}.nii.gz").array[0] / np.float32(255)
        for name in ("t1", "grey_matter", "white_matter")
    )
    brain = ndimage.binary_fill_holes((t1 > 0) | (gm + wm > 0.05))
    depth_mm = ndimage.distance_transform_edt(brain).astype(np.float32)
    fluid = (gm + wm < 0.35) & (depth_mm > 20)
    components, sizes = label_components(fluid, corners=False)
    ventricles = (sizes >= 150)[components]
    ventricle_mm = ndimage.distance_transform_edt(~ventricles).astype(np.float32)
    stack = np.stack([t1, gm, wm, depth_mm, ventricle_mm])
    stack.flags.writeable = False
    return stack


def _random_coordinates(rng: np.random.Generator) -> np.ndarray:
    matrix = np.eye(3) * rng.uniform(1.0, 1.08, 3) + np.triu(rng.uniform(-0.03, 0.03, (3, 3)), 1)
    matrix = matrix @ _rotation(rng.uniform(-0.09, 0.09, 3))
    centre = (np.array(SIZE_ZYX) - 1) / 2
    shift = centre - matrix @ centre + rng.uniform(-1.5, 1.5, 3)
    axes = np.ogrid[tuple(slice(0, size) for size in SIZE_ZYX)]
    coordinates = []
    for row, offset in zip(matrix.astype(np.float32), shift, strict=True):
        affine = sum(weight * axis for weight, axis in zip(row, axes, strict=True))
        bending = 2.4 * smooth_field(rng, SIZE_ZYX, 38.0) + 0.8 * smooth_field(rng, SIZE_ZYX, 13.0)
        coordinates.append(affine + np.float32(offset) + bending)
    return np.stack(coordinates)


def _rotation(angles: np.ndarray) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (other for other in range(3) if other != axis)
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix
