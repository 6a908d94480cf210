"""Four MRI contrasts of one brain: tissue fractions in; t1, t1ce, t2 and flair with bias, gain and noise out.

The order of brightness is that of clinical sequences: T1 white > grey > fluid, T2 fluid > grey > white,
FLAIR grey > white with fluid suppressed, T1ce as T1 where no contrast agent leaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from helpers.demo.anatomy import Anatomy, smooth_field

MODALITIES = ("t1", "t1ce", "t2", "flair")
# Brightness in MODALITIES' order; white matter in T1 is 1.
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


@dataclass(frozen=True)
class Blob:
    """A soft shape of one tissue: `alpha` in 0..1 float32 over the slices `box` of a (Z, Y, X) volume."""

    box: tuple[slice, slice, slice]
    alpha: np.ndarray
    tissue: str


def render_healthy(anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Brightness (4, Z, Y, X) float32 of the brain before lesions, bias field, gain and noise."""
    layers = np.zeros((len(MODALITIES), *anatomy.brain.shape), np.float32)
    for layer, white, grey, fluid in zip(layers, TISSUES["wm"], TISSUES["gm"], TISSUES["csf"], strict=True):
        layer += white * anatomy.wm + grey * anatomy.gm + fluid * anatomy.csf
    # Half of T1 is the template itself: it knows the deep nuclei, which two tissue fractions do not.
    for layer in layers[:2]:
        layer *= 0.5
        layer += 0.5 * 1.04 * anatomy.t1
    texture = 1 + 0.04 * smooth_field(rng, anatomy.brain.shape, 5.0)
    layers *= texture
    return layers


def paint(layers: np.ndarray, blob: Blob, rng: np.random.Generator) -> None:
    """Blends one blob into (4, Z, Y, X) layers in place; each modality varies in its own way inside it."""
    sizes = blob.alpha.shape
    for layer, mean in zip(layers, TISSUES[blob.tissue], strict=True):
        level = mean * (1 + 0.04 * rng.standard_normal() + _SPREAD * smooth_field(rng, sizes, 6.0))
        view = layer[blob.box]
        view += blob.alpha * (level - view)


def acquire(layers: np.ndarray, brain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a scanner makes of brightness: bias field, Rician noise and gain.

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
        # The gain keeps the noise at a few grey levels, so that files stay small.
        gain = np.float32(rng.uniform(90, 150))
        image[brain] = np.maximum(np.rint(gain * np.hypot(real, imaginary)), 1)
    return images
