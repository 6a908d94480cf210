"""Draws label volumes as depth-shaded surfaces with numpy alone, because OpenGL can kill a headless kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from helpers.data.geometry import Geometry
from helpers.data.regions import bounding_box
from helpers.view.figures.canvas import add_caption, new_figure
from helpers.view.orientation import axis_letters
from helpers.view.palette import label_colour, rgb
from helpers.view.proxy import LONGEST_SIDE, block_sizes, proxy_geometry, shrink_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Name and number of the array axis to look along, and whether to look from its far end.
_VIEWS = (("y", 1, False), ("x", 2, False), ("z", 0, True))
_SIDES = {"A": "the front", "P": "the back", "R": "the right", "L": "the left", "S": "above", "I": "below"}
_LIGHT = np.array([0.45, -0.5, 0.74])  # direction to the light: rows, columns, towards the viewer
_BODY_COLOUR, _BODY_OPACITY = np.array([0.62, 0.66, 0.72]), 0.28
# Labels in front are slightly transparent, so that a core inside an oedema remains visible.
_LABEL_OPACITY = 0.75
_WIDTH_IN, _TALLEST_IN = 8.4, 9.0
_MARGIN_MM = 12.0


def draw_relief(
    case_id: str, masks: Mapping[str, np.ndarray], body: np.ndarray | None, *, geometry: Geometry
) -> Figure:
    """Draws one row of three views per mask, all at one scale, with the body as a pale shell around it.

    Args:
        case_id: for the caption.
        masks: title to class indices (Z, Y, X).
        body: boolean (Z, Y, X), drawn pale for orientation; with None the masks are drawn alone, and larger.
        geometry: spacing, so that voxels are drawn in millimetres.
    """
    # The pictures have a few hundred pixels: a proxy of that size looks the same in a tenth of the time.
    blocks = block_sizes(geometry.size_zyx, most_voxels=LONGEST_SIDE**3)
    masks = {title: _shrink(mask, blocks) for title, mask in masks.items()}
    body, geometry = None if body is None else _shrink(body, blocks) > 0, proxy_geometry(geometry, blocks)
    shown = [body] if body is not None else [mask > 0 for mask in masks.values()]
    box = _box_with_margin(np.logical_or.reduce(shown), geometry.spacing_mm_zyx)
    sides_mm = [(part.stop - part.start) * mm for part, mm in zip(box, geometry.spacing_mm_zyx, strict=True)]
    figure, axes = _grid(len(masks), sides_mm)
    letters = axis_letters(geometry.direction)
    for row, (title, mask) in enumerate(masks.items()):
        for axis, (name, along, far) in zip(axes[row], _VIEWS, strict=True):
            pale = np.zeros_like(mask[box], bool) if body is None else body[box]
            picture, aspect = _render(mask[box], pale, along, far, geometry.spacing_mm_zyx)
            axis.imshow(picture, aspect=aspect, origin="upper" if along == 0 else "lower")
            axis.set(xticks=[], yticks=[], anchor="N")
            axis.spines[:].set_visible(False)
            if row == 0:
                axis.set_title(f"from {_SIDES[letters[name][far]]}", fontsize=10)
        axes[row][0].set_ylabel(title, fontsize=10)
    add_caption(figure, case_id)
    return figure


def find_body(channel: np.ndarray, darkest: float) -> np.ndarray | None:
    """Finds where a channel (Z, Y, X) is brighter than air; None if the body fills the field of view.

    A shell helps orientation only if its sides are visible: a filled field of view would be drawn as a box.
    """
    body = channel > darkest
    sides = [body[:, index, :] for index in (0, -1)] + [body[:, :, index] for index in (0, -1)]
    return body if body.any() and np.mean([side.mean() for side in sides]) < 0.3 else None


def _shrink(mask: np.ndarray, blocks: tuple[int, int, int]) -> np.ndarray:
    return mask if max(blocks) == 1 else shrink_labels(lambda where: mask[where], mask.shape, blocks)


def _box_with_margin(shown: np.ndarray, spacing_mm: Sequence[float]) -> tuple[slice, ...]:
    """The smallest box around what is shown, with a margin; the whole volume if nothing is."""
    margins = [round(_MARGIN_MM / mm) for mm in spacing_mm]
    return bounding_box(shown, margins) or tuple(slice(0, side) for side in shown.shape)


def _grid(rows: int, sides_mm: Sequence[float]) -> tuple[Figure, np.ndarray]:
    """Axes (rows, 3) whose widths and heights are in proportion to the millimetres they show."""
    z_mm, y_mm, x_mm = sides_mm
    widths = [x_mm, y_mm, x_mm]  # from the front, from the side, from above
    left_in, top_in, gap_in = 0.35, 0.62, 0.12
    scale = (_WIDTH_IN - left_in) / sum(widths)
    row_in = max(z_mm, y_mm) * scale
    if rows * row_in > _TALLEST_IN:
        scale, row_in = scale * _TALLEST_IN / (rows * row_in), _TALLEST_IN / rows
    width_in, height_in = left_in + sum(widths) * scale + 2 * gap_in, top_in + rows * (row_in + gap_in)
    figure = new_figure(width_in, height_in)
    spaces = {"wspace": gap_in / (sum(widths) * scale / 3), "hspace": gap_in / row_in, "width_ratios": widths}
    edges = {"left": left_in / width_in, "right": 1.0, "top": 1 - top_in / height_in, "bottom": 0.0}
    return figure, figure.subplots(rows, 3, squeeze=False, gridspec_kw={**edges, **spaces})


def _render(
    mask: np.ndarray, body: np.ndarray, along: int, far: bool, spacing_mm: Sequence[float]
) -> tuple[np.ndarray, float]:
    """The picture (rows, columns, 3) and pixel aspect of one view."""
    mask, body = (np.flip(array, along) if far else array for array in (mask, body))
    picture = np.ones((*np.delete(mask.shape, along), 3))
    _shade_onto(picture, body, along, spacing_mm[along], _BODY_COLOUR, _BODY_OPACITY)
    for index in np.unique(mask):
        if index:
            colour = np.array(rgb(label_colour(int(index))))
            _shade_onto(picture, mask == index, along, spacing_mm[along], colour, _LABEL_OPACITY)
    rows, columns = np.delete(np.array(spacing_mm), along)
    return np.clip(picture, 0, 1), rows / columns


def _shade_onto(
    picture: np.ndarray, solid: np.ndarray, along: int, depth_step_mm: float, colour: np.ndarray, opacity: float
) -> None:
    """Blends the lit surface of a solid (Z, Y, X) into a picture (rows, columns, 3)."""
    from scipy.ndimage import gaussian_filter

    hit = solid.any(axis=along)
    if not hit.any():
        return
    depth_mm = solid.argmax(axis=along) * depth_step_mm
    depth_mm = np.where(hit, depth_mm, depth_mm[hit].max())
    smooth = gaussian_filter(depth_mm, 0.8)
    # A single slice has no slope across itself.
    slopes = [np.gradient(smooth, axis=a) if smooth.shape[a] > 1 else np.zeros_like(smooth) for a in (0, 1)]
    slope_row, slope_column = slopes
    normal = np.stack([-slope_row, -slope_column, np.ones_like(depth_mm)])
    normal /= np.linalg.norm(normal, axis=0)
    light = np.clip(np.tensordot(_LIGHT, normal, axes=1), 0, 1)
    nearness = 1 - 0.35 * (depth_mm - depth_mm[hit].min()) / max(1e-6, np.ptp(depth_mm[hit]))
    shade = (0.35 + 0.75 * light) * nearness
    picture[hit] = (1 - opacity) * picture[hit] + opacity * (colour[None] * shade[hit][:, None])
