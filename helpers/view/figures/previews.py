"""The cases of a run before anything was done with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from helpers.view.figures.overlay import paint_labels
from helpers.view.figures.save import IDENTIFIES, grid_of_pictures

_COLUMN_WIDTH_IN = 2.3
_SHOWN_PIXELS = 360


def draw_previews(pictures: Sequence[tuple[str, np.ndarray, np.ndarray | None, float]]):
    """A row of cases with what is marked in them.

    Args:
        pictures: case name, picture (H, W) or (H, W, 3) in 0 to 1, class indices (H, W) or None, height over width
            of a pixel.
    """
    small = [(name, *_thin(picture, truth), aspect) for name, picture, truth, aspect in pictures]
    ratio = max(picture.shape[0] * aspect / picture.shape[1] for _, picture, _, aspect in small)
    figure, axes = grid_of_pictures(1, len(small), _COLUMN_WIDTH_IN, ratio)
    for axis, (name, picture, truth, aspect) in zip(axes[0], small, strict=True):
        axis.imshow(paint_labels(picture, "truth", {"truth": truth}), aspect=aspect, interpolation="nearest")
        axis.set_title(name, fontsize=9, gid=IDENTIFIES)
        axis.set_axis_off()
    return figure


def _thin(picture: np.ndarray, truth: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    every = max(1, max(picture.shape[:2]) // _SHOWN_PIXELS)
    return picture[::every, ::every], None if truth is None else truth[::every, ::every]
