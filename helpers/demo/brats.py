"""Demo cases in the layout of BraTS 2018 with known truth: four MRI contrasts of a brain with a planted glioma.

The anatomy is an average of healthy volunteers; the contrasts, the tumours and the look-alikes are synthetic. Nothing
in a case comes from a patient.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.data.geometry import Geometry
from helpers.data.regions import Box, label_components
from helpers.data.volume import Volume, write_volume
from helpers.demo.brain import SIZE_ZYX, Anatomy, bend_anatomy
from helpers.demo.shapes import smooth_field
from helpers.run.atomic import working_folder

GROUP = Path("MICCAI_BraTS_2018_Data_Training", "HGG")
SPACING_MM_ZYX = (1.0, 1.0, 1.0)
_ORIGIN_MM_XYZ = (0.0, -239.0, 0.0)
MODALITIES = ("t1", "t1ce", "t2", "flair")
NECROSIS, OEDEMA, ENHANCING = 1, 2, 4
# Brightness in the order of MODALITIES, as in clinical sequences, relative to white matter in T1.
TISSUES = {
    "wm": (1.00, 1.00, 0.44, 0.52),
    "gm": (0.74, 0.77, 0.62, 0.66),
    "csf": (0.34, 0.34, 1.05, 0.20),
    "oedema": (0.72, 0.74, 0.79, 0.87),
    "necrosis": (0.50, 0.55, 0.88, 0.56),
    "enhancing": (0.68, 1.17, 0.68, 0.80),
    "gliosis": (0.88, 0.89, 0.72, 0.86),
    "cyst": (0.40, 0.41, 1.00, 0.26),
    "bleeding": (1.24, 1.28, 0.40, 0.62),
    "extra-axial": (0.76, 1.24, 0.66, 0.70),
    "vessel": (0.72, 1.28, 0.50, 0.50),
    "artefact": (0.78, 0.80, 0.60, 0.90),
}
_SPREAD = 0.055
_NOISE = (0.035, 0.035, 0.040, 0.040)
_MARGIN_MM = 26
_EVERYWHERE = (slice(None), slice(None), slice(None))
_LOG = logging.getLogger("cookbook")


@dataclass(frozen=True)
class DemoCase:
    """One case: images (4, Z, Y, X) int16 in the order t1, t1ce, t2, flair, and labels (Z, Y, X) uint8.

    Labels are those of BraTS 2018: 0 background, 1 necrotic core, 2 oedema, 4 enhancing tumour.
    """

    images: np.ndarray
    labels: np.ndarray
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Blob:
    """A soft shape of one tissue: `alpha` in 0..1 float32 over the slices `box` of a (Z, Y, X) volume."""

    box: Box
    alpha: np.ndarray
    tissue: str


@dataclass(frozen=True)
class Tumour:
    """BraTS labels (Z, Y, X) uint8, the blobs to paint in order, and (centre, radius_mm) of each core."""

    labels: np.ndarray
    blobs: tuple[Blob, ...]
    cores: tuple[tuple[np.ndarray, float], ...]


def generate_case(seed: int) -> DemoCase:
    """Generates one case; the same seed gives the same bytes.

    Raises:
        DataError: a file of the anatomy is missing or damaged.
    """
    shape, look, texture, scanner = np.random.Generator(np.random.PCG64(seed)).spawn(4)
    anatomy = bend_anatomy(shape)
    tumour = grow_tumour(anatomy, shape)
    layers = render_healthy(anatomy, texture)
    for blob in (*place_lookalikes(anatomy, tumour, look), *tumour.blobs):
        paint(layers, blob, texture)
    return DemoCase(acquire(layers, anatomy.brain, scanner), tumour.labels, SPACING_MM_ZYX)


def write_demo_cases(root: Path, seeds: Sequence[int]) -> list[str]:
    """Writes cases in the layout of BraTS 2018: GROUP/Demo_<seed>/Demo_<seed>_{t1,t1ce,t2,flair,seg}.nii.gz.

    A case's folder appears when all its files are written; complete cases are kept.

    Args:
        root: the data set's root, created if missing.
        seeds: one per case.

    Returns:
        The names of the cases, in the order of the seeds.

    Raises:
        DataError: a file cannot be written, or the anatomy is missing.
    """
    folder = Path(root) / GROUP
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for seed in seeds:
        name = f"Demo_{seed:05d}"
        names.append(name)
        if not _is_complete(folder / name):
            _write_case(folder / name, generate_case(seed))
            _LOG.info("wrote demo case %s", name)
    return names


def _file_names(name: str) -> list[str]:
    return [f"{name}_{kind}.nii.gz" for kind in (*MODALITIES, "seg")]


def _is_complete(case_folder: Path) -> bool:
    return all((case_folder / file).is_file() for file in _file_names(case_folder.name))


def _write_case(case_folder: Path, case: DemoCase) -> None:
    geometry = Geometry(SIZE_ZYX, case.spacing_mm, _ORIGIN_MM_XYZ, (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    # Outside the folder of cases, so that a killed process never leaves an incomplete case there.
    with working_folder(case_folder.parents[2]) as unfinished:
        for file, array in zip(_file_names(case_folder.name), (*case.images, case.labels), strict=True):
            write_volume(unfinished / file, Volume(array, geometry))
        unfinished.chmod(0o755)
        if not _is_complete(case_folder):
            shutil.rmtree(case_folder, ignore_errors=True)
            os.replace(unfinished, case_folder)


def render_healthy(anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Renders the brain without lesions, bias field, gain and noise: brightness (4, Z, Y, X) float32."""
    layers = np.zeros((len(MODALITIES), *anatomy.brain.shape), np.float32)
    for layer, white, grey, fluid in zip(layers, TISSUES["wm"], TISSUES["gm"], TISSUES["csf"], strict=True):
        layer += white * anatomy.wm + grey * anatomy.gm + fluid * anatomy.csf
    # T1 is half the template itself, which shows the deep nuclei; the tissue fractions do not.
    for layer in layers[:2]:
        layer *= 0.5
        layer += 0.5 * 1.04 * anatomy.t1
    texture = 1 + 0.04 * smooth_field(rng, anatomy.brain.shape, 5.0)
    layers *= texture
    return layers


def paint(layers: np.ndarray, blob: Blob, rng: np.random.Generator) -> None:
    """Blends a blob into layers (4, Z, Y, X) in place; its brightness varies independently in each modality."""
    sizes = blob.alpha.shape
    for layer, mean in zip(layers, TISSUES[blob.tissue], strict=True):
        level = mean * (1 + 0.04 * rng.standard_normal() + _SPREAD * smooth_field(rng, sizes, 6.0))
        view = layer[blob.box]
        view += blob.alpha * (level - view)


def acquire(layers: np.ndarray, brain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulates the scanner: bias field, Rician noise and gain.

    Args:
        layers: (4, Z, Y, X) float32 brightness, white matter in T1 near 1.
        brain: (Z, Y, X) boolean mask.

    Returns:
        (4, Z, Y, X) int16, at least 1 in the brain and exactly 0 outside.
    """
    images = np.zeros(layers.shape, np.int16)
    for image, layer, noise in zip(images, layers, _NOISE, strict=True):
        bias = smooth_field(rng, brain.shape, 75.0)[brain]
        signal = layer[brain] * np.exp(np.float32(rng.uniform(0.04, 0.09)) * bias)
        sigma = np.float32(noise * rng.uniform(0.8, 1.2))
        real = signal + sigma * rng.standard_normal(signal.size, np.float32)
        imaginary = sigma * rng.standard_normal(signal.size, np.float32)
        # At this gain the noise has few grey levels, which keeps files small.
        gain = np.float32(rng.uniform(90, 150))
        image[brain] = np.maximum(np.rint(gain * np.hypot(real, imaginary)), 1)
    return images


def grow_tumour(anatomy: Anatomy, rng: np.random.Generator) -> Tumour:
    """Places one focus, and with a probability of 0.3 a smaller second one, in the white matter of the cerebrum."""
    labels = np.zeros(anatomy.brain.shape, np.uint8)
    radii_mm = [rng.uniform(14, 20)]
    if rng.random() < 0.3:
        radii_mm.append(rng.uniform(9, 12))
    blobs: list[Blob] = []
    cores: list[tuple[np.ndarray, float]] = []
    for radius_mm in radii_mm:
        centre = _pick_centre(anatomy, cores, radius_mm, rng)
        cores.append((centre, radius_mm))
        blobs += _grow_focus(anatomy, labels, centre, radius_mm, rng)
    # Oedema first, so that the oedema of one focus never covers the core of another.
    blobs.sort(key=lambda blob: ("oedema", "enhancing", "necrosis").index(blob.tissue))
    return Tumour(labels, tuple(blobs), tuple(cores))


def _pick_centre(
    anatomy: Anatomy, cores: list[tuple[np.ndarray, float]], radius_mm: float, rng: np.random.Generator
) -> np.ndarray:
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


def _oedema_level(anatomy: Anatomy, box: Box, distance_mm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Millimetres by which oedema extends beyond a voxel; it follows white matter and spares cortex and fluid."""
    from scipy import ndimage

    reach_mm = rng.uniform(9, 19) * (1 + 0.30 * smooth_field(rng, distance_mm.shape, 13.0))
    white = ndimage.gaussian_filter(anatomy.wm[box], 1.8)
    resistance = 1 + 2.2 * (1 - white)
    level_mm = reach_mm - distance_mm * resistance
    return np.where(anatomy.csf[box] > 0.5, np.minimum(level_mm, -1), level_mm)


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


def place_lookalikes(anatomy: Anatomy, tumour: Tumour, rng: np.random.Generator) -> list[Blob]:
    """Places all unlabelled findings of a case, in painting order; they are painted before the tumour.

    Each looks like a glioma in some modality, so that no threshold finds the tumour: white-matter hyperintensities
    and caps (bright in FLAIR and T2, no core), fluid cysts and old infarcts (like necrosis, no enhancing rim),
    meninges, vessels, choroid plexus and small extra-axial masses (bright in T1ce), bleedings (bright in T1) and flow
    artefacts (bright in FLAIR alone).
    """
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
        # Not in the core or most of its oedema, where they would only blur the edge of the label.
        picked = picked[np.linalg.norm(picked - centre, axis=1) > 1.3 * radius_mm + 18]
    return picked[:count]


def _lump(
    anatomy: Anatomy,
    centre: np.ndarray,
    radius_mm: float,
    tissue: str,
    rng: np.random.Generator,
) -> Blob:
    box = box_around(centre, int(1.7 * radius_mm) + 3, anatomy.brain.shape)
    level_mm = radius_mm * (1 - ellipsoid(box, centre, radius_mm, rng, 0.2))
    return Blob(box, _edge(level_mm, 1.2) * anatomy.brain[box], tissue)


def _infarct(anatomy: Anatomy, centre: np.ndarray, radius_mm: float, rng: np.random.Generator) -> list[Blob]:
    """An old infarct: a fluid cavity with a bright FLAIR border, like a tumour whose rim does not enhance."""
    box = box_around(centre, int(1.7 * radius_mm) + 6, anatomy.brain.shape)
    level_mm = radius_mm * (1 - ellipsoid(box, centre, radius_mm, rng, 0.2))
    seam_mm = rng.uniform(2, 4)
    outer = _edge(level_mm + seam_mm, 1.5) * anatomy.brain[box] * (1 - anatomy.csf[box])
    return [Blob(box, outer, "gliosis"), Blob(box, _edge(level_mm, 1.2) * anatomy.brain[box], "cyst")]


def _caps(anatomy: Anatomy, rng: np.random.Generator) -> Blob:
    thickness_mm = rng.uniform(2.0, 5.0) * (1 + 0.6 * smooth_field(rng, anatomy.brain.shape, 17.0))
    alpha = _edge(thickness_mm - anatomy.ventricle_mm, 2.0) * anatomy.wm
    alpha[: int(0.4 * len(alpha))] = 0
    return Blob(_EVERYWHERE, alpha, "gliosis")


def _artefact(anatomy: Anatomy, rng: np.random.Generator) -> Blob:
    patches = smooth_field(rng, anatomy.brain.shape, 16.0)
    alpha = _edge(patches - rng.uniform(1.1, 1.5), 0.4) * anatomy.gm * _edge(12 - anatomy.depth_mm, 4.0)
    return Blob(_EVERYWHERE, alpha, "artefact")


def _meninges(anatomy: Anatomy, rng: np.random.Generator) -> Blob:
    thickness_mm = rng.uniform(1.0, 1.4) + 1.0 * smooth_field(rng, anatomy.brain.shape, 20.0)
    return Blob(_EVERYWHERE, _edge(thickness_mm - anatomy.depth_mm + 0.5, 1.0) * anatomy.brain, "extra-axial")


def _choroid(anatomy: Anatomy, rng: np.random.Generator) -> Blob:
    patches = smooth_field(rng, anatomy.brain.shape, 7.0)
    inside = (anatomy.ventricle_mm < 1) & anatomy.brain
    return Blob(_EVERYWHERE, _edge(patches - rng.uniform(0.6, 1.1), 0.4) * inside, "extra-axial")


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


def box_around(centre: np.ndarray, reach: int, size_zyx: tuple[int, ...]) -> Box:
    """The cube of side 2 `reach` + 1 around a voxel, cropped at the volume's edges."""
    return tuple(slice(max(0, c - reach), min(s, c + reach + 1)) for c, s in zip(centre, size_zyx, strict=True))


def ellipsoid(
    box: Box, centre: np.ndarray, radius_mm: float, rng: np.random.Generator, roughness: float
) -> np.ndarray:
    """Distance to `centre` over a box, scaled to 1 on the surface of an irregular ellipsoid: (Z, Y, X) float32."""
    axes = np.ogrid[box]
    offsets = np.stack(np.broadcast_arrays(*(a - c for a, c in zip(axes, centre, strict=True))), -1)
    basis, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    scale = rng.uniform(0.75, 1.25, 3)
    offsets = offsets.astype(np.float32) @ (basis * (scale / np.cbrt(scale.prod()))).astype(np.float32)
    distance = np.linalg.norm(offsets, axis=-1) / np.float32(radius_mm)
    size = distance.shape
    distance += roughness * smooth_field(rng, size, max(0.7 * radius_mm, 2.5))
    return distance + 0.45 * roughness * smooth_field(rng, size, max(0.35 * radius_mm, 2.0))
