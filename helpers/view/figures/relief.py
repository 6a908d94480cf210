"""Depth-shaded 3-D view of label volumes with numpy alone: no OpenGL, which can kill a headless kernel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from helpers.data.geometry import Geometry
from helpers.view.figures.save import IDENTIFIES, new_figure
from helpers.view.figures.slices import axis_letters
from helpers.view.palette import label_colour, rgb

# (name and number of the array axis to look along, whether to look from its far end)
_VIEWS = (("y", 1, False), ("x", 2, False), ("z", 0, True))
_SIDES = {"A": "the front", "P": "the back", "R": "the right", "L": "the left", "S": "above", "I": "below"}
_LIGHT = np.array([0.45, -0.5, 0.74])


def draw_relief(case_id: str, masks: Mapping[str, np.ndarray], body: np.ndarray, *, geometry: Geometry):
    """One row of three views for each mask, the body as a pale shell behind it.

    Args:
        case_id: for the caption.
        masks: title to class indices (Z, Y, X).
        body: boolean (Z, Y, X), what is shown pale for orientation.
        geometry: spacing, so that voxels are drawn in millimetres.
    """
    figure = new_figure(8.4, 2.9 * len(masks) + 0.4)
    axes = figure.subplots(len(masks), len(_VIEWS), squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.08})
    letters = axis_letters(geometry.direction)
    for row, (title, mask) in enumerate(masks.items()):
        for axis, (name, along, far) in zip(axes[row], _VIEWS, strict=True):
            picture, aspect = _render(mask, body, along, far, geometry.spacing_mm_zyx)
            axis.imshow(picture, aspect=aspect, origin="upper" if along == 0 else "lower")
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
            if row == 0:
                axis.set_title(f"from {_SIDES[letters[name][far]]}", fontsize=10)
        axes[row][0].set_ylabel(title, fontsize=10)
    figure.suptitle(case_id, fontsize=10, fontweight="bold", x=0.125, ha="left", y=0.985, gid=IDENTIFIES)
    return figure


def _render(mask, body, along: int, far: bool, spacing_mm) -> tuple[np.ndarray, float]:
    """Picture (rows, columns, 3) and pixel aspect of one view."""
    mask, body = (np.flip(array, along) if far else array for array in (mask, body))
    picture = np.ones((*np.delete(mask.shape, along), 3))
    _shade_onto(picture, body, along, spacing_mm[along], np.array([0.62, 0.66, 0.72]), 0.28)
    for index in np.unique(mask):
        if index:
            colour = np.array(rgb(label_colour(int(index))))
            # Deeper labels shine through the ones in front a little, so that a core inside an oedema is seen.
            _shade_onto(picture, mask == index, along, spacing_mm[along], colour, 0.75)
    rows, columns = np.delete(np.array(spacing_mm), along)
    return np.clip(picture, 0, 1), rows / columns


def _shade_onto(picture, solid, along: int, step_mm: float, colour: np.ndarray, opacity: float) -> None:
    hit = solid.any(axis=along)
    if not hit.any():
        return
    depth_mm = solid.argmax(axis=along) * step_mm
    depth_mm = np.where(hit, depth_mm, depth_mm[hit].max())
    smooth = _smooth(depth_mm)
    # A single slice has no slope across itself.
    slopes = [np.gradient(smooth, axis=a) if smooth.shape[a] > 1 else np.zeros_like(smooth) for a in (0, 1)]
    slope_row, slope_column = slopes
    normal = np.stack([-slope_row, -slope_column, np.ones_like(depth_mm)])
    normal /= np.linalg.norm(normal, axis=0)
    light = np.clip(np.tensordot(_LIGHT, normal, axes=1), 0, 1)
    nearness = 1 - 0.35 * (depth_mm - depth_mm[hit].min()) / max(1e-6, np.ptp(depth_mm[hit]))
    shade = (0.35 + 0.75 * light) * nearness
    picture[hit] = (1 - opacity) * picture[hit] + opacity * (colour[None] * shade[hit][:, None])


def _smooth(depth_mm: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(depth_mm, 0.8)
