"""Gliomas as BraTS labels them: oedema (2) around an enhancing rim (4) around a necrotic core (1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from helpers.data.regions import label_components
from helpers.demo.anatomy import Anatomy, smooth_field
from helpers.demo.brats_contrast import Blob

NECROSIS, OEDEMA, ENHANCING = 1, 2, 4
_MARGIN_MM = 26


@dataclass(frozen=True)
class Tumour:
    """BraTS labels (Z, Y, X) uint8, the blobs to paint in order, and (centre, radius_mm) of each core."""

    labels: np.ndarray
    blobs: tuple[Blob, ...]
    cores: tuple[tuple[np.ndarray, float], ...]


def grow_tumour(anatomy: Anatomy, rng: np.random.Generator) -> Tumour:
    """Places one focus, and with a chance of 0.3 a second smaller one, in the cerebrum's white matter."""
    labels = np.zeros(anatomy.brain.shape, np.uint8)
    radii_mm = [rng.uniform(14, 20)]
    if rng.random() < 0.3:
        radii_mm.append(rng.uniform(9, 12))
    blobs, cores = [], []
    for radius_mm in radii_mm:
        centre = _pick_centre(anatomy, cores, radius_mm, rng)
        cores.append((centre, radius_mm))
        blobs += _grow_focus(anatomy, labels, centre, radius_mm, rng)
    # Oedema first, so that no core is painted over by a neighbour's oedema.
    blobs.sort(key=lambda blob: ("oedema", "enhancing", "necrosis").index(blob.tissue))
    return Tumour(labels, tuple(blobs), tuple(cores))


def _pick_centre(anatomy: Anatomy, cores: list, radius_mm: float, rng: np.random.Generator) -> np.ndarray:
    size_z, _, size_x = anatomy.brain.shape
    usable = (anatomy.wm > 0.6) & (anatomy.depth_mm > 0.6 * radius_mm)
    usable[: int(0.42 * size_z)] = False
    middle = size_x // 2
    usable[:, :, middle - 14 : middle + 14] = False
    candidates = np.argwhere(usable)
    for centre, other_mm in cores:
        far = np.linalg.norm(candidates - centre, axis=1) > 1.2 * (other_mm + radius_mm)
        candidates = candidates[far]
    return candidates[rng.integers(len(candidates))]


def _grow_focus(
    anatomy: Anatomy, labels: np.ndarray, centre: np.ndarray, radius_mm: float, rng: np.random.Generator
) -> list[Blob]:
    from scipy import ndimage

    reach = int(1.45 * radius_mm) + _MARGIN_MM
    box = box_around(centre, reach, labels.shape)
    brain = anatomy.brain[box]
    # Signed distance to the core's surface in mm, negative inside.
    outside_mm = radius_mm * (ellipsoid(box, centre, radius_mm, rng, roughness=0.17) - 1)
    outside_mm = np.where(brain, outside_mm, np.inf)
    core = _largest_part(outside_mm < 0)
    distance_mm = ndimage.distance_transform_edt(~core).astype(np.float32)
    depth_mm = ndimage.distance_transform_edt(core).astype(np.float32)
    rim_mm = rng.uniform(3.2, 5.4) * (1 + 0.28 * smooth_field(rng, core.shape, 9.0))
    gaps = smooth_field(rng, core.shape, 11.0) > 1.5
    necrotic_mm = np.where(gaps, depth_mm, depth_mm - np.maximum(rim_mm, 2.0))
    oedema_mm = _oedema_level(anatomy, box, distance_mm, rng)
    oedema = _largest_part((oedema_mm > 0) & brain, touching=core) | core
    part = labels[box]
    part[oedema & (part == 0)] = OEDEMA
    part[core & (necrotic_mm <= 0)] = ENHANCING
    part[core & (necrotic_mm > 0)] = NECROSIS
    return [
        Blob(box, _soft(oedema, oedema_mm), "oedema"),
        Blob(box, np.clip(depth_mm - distance_mm + 0.5, 0, 1), "enhancing"),
        Blob(box, np.clip(necrotic_mm + 0.5, 0, 1) * core, "necrosis"),
    ]


def _oedema_level(anatomy: Anatomy, box: tuple, distance_mm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Millimetres by which oedema reaches past a voxel: it runs along white matter, spares cortex and fluid."""
    from scipy import ndimage

    reach_mm = rng.uniform(9, 19) * (1 + 0.30 * smooth_field(rng, distance_mm.shape, 13.0))
    white = ndimage.gaussian_filter(anatomy.wm[box], 1.8)
    resistance = 1 + 2.2 * (1 - white)
    level_mm = reach_mm - distance_mm * resistance
    return np.where(anatomy.csf[box] > 0.5, np.minimum(level_mm, -1), level_mm)


def box_around(centre: np.ndarray, reach: int, size_zyx: tuple[int, ...]) -> tuple[slice, slice, slice]:
    """The cube of side 2 `reach` + 1 around a voxel, cut at the volume's edges."""
    return tuple(slice(max(0, c - reach), min(s, c + reach + 1)) for c, s in zip(centre, size_zyx, strict=True))


def ellipsoid(
    box: tuple, centre: np.ndarray, radius_mm: float, rng: np.random.Generator, roughness: float
) -> np.ndarray:
    """Distance to `centre` over a box, in units that are 1 on an irregular ellipsoid: (Z, Y, X) float32."""
    axes = np.ogrid[box]
    offsets = np.stack(np.broadcast_arrays(*(a - c for a, c in zip(axes, centre, strict=True))), -1)
    basis, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    scale = rng.uniform(0.75, 1.25, 3)
    offsets = offsets.astype(np.float32) @ (basis * (scale / np.cbrt(scale.prod()))).astype(np.float32)
    distance = np.linalg.norm(offsets, axis=-1) / np.float32(radius_mm)
    size = distance.shape
    distance += roughness * smooth_field(rng, size, max(0.7 * radius_mm, 2.5))
    return distance + 0.45 * roughness * smooth_field(rng, size, max(0.35 * radius_mm, 2.0))


def _largest_part(mask: np.ndarray, touching: np.ndarray | None = None) -> np.ndarray:
    components, sizes = label_components(mask, corners=False)
    if not sizes.any():
        return mask
    if touching is not None:
        sizes = np.bincount(components[touching], minlength=len(sizes))
        sizes[0] = 0
    return components == sizes.argmax()


def _soft(mask: np.ndarray, level_mm: np.ndarray) -> np.ndarray:
    return np.clip(level_mm / 1.5 + 0.5, 0, 1).astype(np.float32) * mask
