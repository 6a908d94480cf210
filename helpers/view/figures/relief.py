"""Depth-shaded 3-D view of label volumes with numpy alone: no OpenGL, which can kill a headless kernel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from helpers.data.geometry import Geometry
from helpers.view.figures.overlay import axis_letters
from helpers.view.figures.save import add_caption, new_figure
from helpers.view.palette import label_colour, rgb
from helpers.view.proxy import LONGEST_SIDE, block_sizes, proxy_geometry, shrink_labels

# (name and number of the array axis to look along, whether to look from its far end)
_VIEWS = (("y", 1, False), ("x", 2, False), ("z", 0, True))
_SIDES = {"A": "the front", "P": "the back", "R": "the right", "L": "the left", "S": "above", "I": "below"}
_LIGHT = np.array([0.45, -0.5, 0.74])
_WIDTH_IN = 8.4
_MARGIN_MM = 12.0


def draw_relief(case_id: str, masks: Mapping[str, np.ndarray], body: np.ndarray | None, *, geometry: Geometry):
    """One row of three views for each mask, all to one scale, the body as a pale shell around it.

    Args:
        case_id: for the caption.
        masks: title to class indices (Z, Y, X).
        body: boolean (Z, Y, X), what is shown pale for orientation; None shows the masks alone, and larger.
        geometry: spacing, so that voxels are drawn in millimetres.
    """
    # The pictures have a few hundred pixels: a stand-in of that size shows the same in a tenth of the time.
    blocks = block_sizes(geometry.size_zyx, most_voxels=LONGEST_SIDE**3)
    masks = {title: _shrink(mask, blocks) for title, mask in masks.items()}
    body, geometry = None if body is None else _shrink(body, blocks) > 0, proxy_geometry(geometry, blocks)
    shown = [body] if body is not None else [mask > 0 for mask in masks.values()]
    box = _box_of(np.logical_or.reduce(shown), geometry.spacing_mm_zyx)
    sides_mm = [(part.stop - part.start) * mm for part, mm in zip(box, geometry.spacing_mm_zyx, strict=True)]
    figure, axes = _grid(len(masks), sides_mm)
    letters = axis_letters(geometry.direction)
    for row, (title, mask) in enumerate(masks.items()):
        for axis, (name, along, far) in zip(axes[row], _VIEWS, strict=True):
            pale = np.zeros_like(mask[box], bool) if body is None else body[box]
            picture, aspect = _render(mask[box], pale, along, far, geometry.spacing_mm_zyx)
            axis.imshow(picture, aspect=aspect, origin="upper" if along == 0 else "lower")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            if row == 0:
                axis.set_title(f"from {_SIDES[letters[name][far]]}", fontsize=10)
        axes[row][0].set_ylabel(title, fontsize=10)
    add_caption(figure, case_id)
    return figure


def find_body(channel: np.ndarray, darkest: float) -> np.ndarray | None:
    """Where a channel (Z, Y, X) is brighter than air, or None where the picture is cut out of a body.

    A shell orients only when its sides are seen: a field of view that the body fills would be drawn as a box.
    """
    body = channel > darkest
    sides = [body[:, index, :] for index in (0, -1)] + [body[:, :, index] for index in (0, -1)]
    return body if body.any() and np.mean([side.mean() for side in sides]) < 0.3 else None


def _shrink(mask: np.ndarray, blocks: tuple[int, int, int]) -> np.ndarray:
    return mask if max(blocks) == 1 else shrink_labels(lambda where: mask[where], mask.shape, blocks)


def _box_of(shown: np.ndarray, spacing_mm) -> tuple[slice, ...]:
    if not shown.any():
        return tuple(slice(0, side) for side in shown.shape)
    box = []
    for axis, (side, mm) in enumerate(zip(shown.shape, spacing_mm, strict=True)):
        hit = np.flatnonzero(shown.any(axis=tuple({0, 1, 2} - {axis})))
        margin = round(_MARGIN_MM / mm)
        box.append(slice(max(0, hit[0] - margin), min(side, hit[-1] + 1 + margin)))
    return tuple(box)


def _grid(rows: int, sides_mm):
    """Axes (rows, 3) whose widths and heights are in proportion to the millimetres they show."""
    z_mm, y_mm, x_mm = sides_mm
    widths = [x_mm, y_mm, x_mm]  # from the front, from the side, from above
    left_in, top_in, gap_in = 0.35, 0.62, 0.12
    scale = (_WIDTH_IN - left_in) / sum(widths)
    row_in = max(z_mm, y_mm) * scale
    if rows * row_in > 9:
        scale, row_in = scale * 9 / (rows * row_in), 9 / rows
    width_in, height_in = left_in + sum(widths) * scale + 2 * gap_in, top_in + rows * (row_in + gap_in)
    figure = new_figure(width_in, height_in)
    spaces = {"wspace": gap_in / (sum(widths) * scale / 3), "hspace": gap_in / row_in, "width_ratios": widths}
    edges = {"left": left_in / width_in, "right": 1.0, "top": 1 - top_in / height_in, "bottom": 0.0}
    return figure, figure.subplots(rows, 3, squeeze=False, gridspec_kw={**edges, **spaces})


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
