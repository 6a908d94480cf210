"""Draws cells with nuclei under a microscope, as grey PNG files with masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.data.picture import write_png

IMAGES, MASKS = "images", "masks"
SIZE = (160, 208)
_GREYS = (30.0, 110.0, 210.0)  # of the background, a cell and a nucleus
_NOISE = 18.0


def write_demo_cases(root: Path, seeds: Sequence[int]) -> list[str]:
    """Writes the cases that are missing as `images/<id>.png` and `masks/<id>.png`, and returns their ids."""
    for folder in (IMAGES, MASKS):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        name = f"cells_{seed}.png"
        if not (root / MASKS / name).is_file():
            image, truth = draw_cells(seed)
            write_png(root / IMAGES / name, image)
            write_png(root / MASKS / name, truth)
    return [f"cells_{seed}" for seed in seeds]


def draw_cells(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W) uint8 and its classes (H, W) uint8: 0 background, 1 cell, 2 nucleus."""
    random = np.random.default_rng(seed)
    rows, columns = np.indices(SIZE)
    truth = np.zeros(SIZE, np.uint8)
    for _ in range(int(random.integers(5, 9))):
        row, column = random.integers(20, SIZE[0] - 20), random.integers(20, SIZE[1] - 20)
        radius, stretch = random.uniform(14, 22), random.uniform(0.8, 1.25)
        distance = np.hypot((rows - row) * stretch, (columns - column) / stretch)
        truth[(distance < radius) & (truth == 0)] = 1
        truth[distance < radius * 0.45] = 2
    grey = np.array(_GREYS)[truth] * (1 + 0.1 * columns / SIZE[1]) + random.normal(0, _NOISE, SIZE)
    return grey.clip(0, 255).astype(np.uint8), truth
