"""Findings that look like a glioma in one modality and carry no label, so that no threshold finds the tumour.

White-matter hyperintensities and caps (bright in FLAIR and T2, no core), fluid cysts and old infarcts (like
necrosis, no enhancing rim), meninges, vessels, choroid plexus and small extra-axial masses (bright in T1ce),
bleedings (bright in T1) and flow artefacts (bright in FLAIR alone).
"""

from __future__ import annotations

import numpy as np

from helpers.demo.anatomy import Anatomy, smooth_field
from helpers.demo.brats_contrast import Blob
from helpers.demo.brats_tumour import Tumour, box_around, ellipsoid

_WHOLE = (slice(None), slice(None), slice(None))


def place_lookalikes(anatomy: Anatomy, tumour: Tumour, rng: np.random.Generator) -> list[Blob]:
    """All unlabelled findings of one case, in the order in which they are painted (before the tumour)."""
    blobs = [_caps(anatomy, rng), _artefact(anatomy, rng), _meninges(anatomy, rng), _choroid(anatomy, rng)]
    white = (anatomy.wm > 0.7) & (anatomy.depth_mm > 6)
    cortex = (anatomy.depth_mm > 2) & (anatomy.depth_mm < 7)
    surface = (anatomy.depth_mm > 1) & (anatomy.depth_mm < 3)
    for tissue, region, count, radius_mm in (
        ("gliosis", white, rng.integers(5, 10), (3.5, 9.0)),
        ("cyst", white | cortex, rng.integers(2, 5), (4.0, 9.0)),
        ("bleeding", white | cortex, rng.integers(2, 5), (3.0, 6.5)),
        ("extra-axial", surface, rng.integers(3, 6), (5.0, 9.0)),
    ):
        for centre in _pick_centres(region, tumour, int(count), rng):
            blobs.append(_lump(anatomy, centre, rng.uniform(*radius_mm), tissue, rng))
    for centre in _pick_centres(white, tumour, int(rng.integers(1, 3)), rng):
        blobs += _infarct(anatomy, centre, rng.uniform(6, 10), rng)
    starts = _pick_centres(anatomy.depth_mm > 3, tumour, int(rng.integers(10, 18)), rng)
    blobs += [_vessel(anatomy, start, rng) for start in starts]
    return blobs


def _pick_centres(region: np.ndarray, tumour: Tumour, count: int, rng: np.random.Generator) -> np.ndarray:
    candidates = np.argwhere(region)
    picked = candidates[rng.integers(len(candidates), size=6 * count)]
    for centre, radius_mm in tumour.cores:
        # Outside the core and most of its oedema, where they would only blur the label's edge.
        picked = picked[np.linalg.norm(picked - centre, axis=1) > 1.3 * radius_mm + 18]
    return picked[:count]


def _lump(
    anatomy: Anatomy,
    centre: np.ndarray,
    radius_mm: float,
    tissue: str,
    rng: np.random.Generator,
    roughness: float = 0.2,
) -> Blob:
    box = box_around(centre, int(1.7 * radius_mm) + 3, anatomy.brain.shape)
    level_mm = radius_mm * (1 - ellipsoid(box, centre, radius_mm, rng, 0.2))
    return Blob(box, _edge(level_mm, 1.2) * anatomy.brain[box], tissue)


def _infarct(anatomy: Anatomy, centre: np.ndarray, radius_mm: float, rng: np.random.Generator) -> list[Blob]:
    """An old infarct: a cavity of fluid in a bright FLAIR seam, like a tumour whose rim does not enhance."""
    box = box_around(centre, int(1.7 * radius_mm) + 6, anatomy.brain.shape)
    level_mm = radius_mm * (1 - ellipsoid(box, centre, radius_mm, rng, 0.2))
    seam_mm = rng.uniform(2, 4)
    outer = _edge(level_mm + seam_mm, 1.5) * anatomy.brain[box] * (1 - anatomy.csf[box])
    return [Blob(box, outer, "gliosis"), Blob(box, _edge(level_mm, 1.2) * anatomy.brain[box], "cyst")]


def _caps(anatomy: Anatomy, rng: np.random.Generator) -> Blob:
    thickness_mm = rng.uniform(2.0, 5.0) * (1 + 0.6 * smooth_field(rng, anatomy.brain.shape, 17.0))
    alpha = _edge(thickness_mm - anatomy.ventricle_mm, 2.0) * anatomy.wm
    alpha[: int(0.4 * len(alpha))] = 0
    return Blob(_WHOLE, alpha, "gliosis")


def _artefact(anatomy: Anatomy, rng: np.random.Generator) -> Blob:
    patches = smooth_field(rng, anatomy.brain.shape, 16.0)
    alpha = _edge(patches - rng.uniform(1.1, 1.5), 0.4) * anatomy.gm * _edge(12 - anatomy.depth_mm, 4.0)
    return Blob(_WHOLE, alpha, "artefact")


def _meninges(anatomy: Anatomy, rng: np.random.Generator) -> Blob:
    thickness_mm = rng.uniform(1.0, 1.4) + 1.0 * smooth_field(rng, anatomy.brain.shape, 20.0)
    return Blob(_WHOLE, _edge(thickness_mm - anatomy.depth_mm + 0.5, 1.0) * anatomy.brain, "extra-axial")


def _choroid(anatomy: Anatomy, rng: np.random.Generator) -> Blob:
    patches = smooth_field(rng, anatomy.brain.shape, 7.0)
    inside = (anatomy.ventricle_mm < 1) & anatomy.brain
    return Blob(_WHOLE, _edge(patches - rng.uniform(0.6, 1.1), 0.4) * inside, "extra-axial")


def _vessel(anatomy: Anatomy, start: np.ndarray, rng: np.random.Generator) -> Blob:
    from scipy import ndimage

    length_mm, radius_mm = int(rng.integers(30, 80)), rng.uniform(1.0, 1.9)
    heading = rng.standard_normal(3)
    path = [start.astype(float)]
    for _ in range(length_mm):
        heading = heading / np.linalg.norm(heading) + 0.25 * rng.standard_normal(3)
        path.append(path[-1] + heading / np.linalg.norm(heading))
    points = np.rint(path).astype(int)
    points = points[((points >= 3) & (points < np.array(anatomy.brain.shape) - 3)).all(axis=1)]
    low, high = points.min(axis=0) - 3, points.max(axis=0) + 4
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    free = np.ones(high - low, bool)
    free[tuple((points - low).T)] = False
    distance_mm = ndimage.distance_transform_edt(free)
    return Blob(box, _edge(radius_mm - distance_mm, 1.0) * anatomy.brain[box], "vessel")


def _edge(level: np.ndarray, width: float) -> np.ndarray:
    return np.clip(level / width + 0.5, 0, 1).astype(np.float32)
