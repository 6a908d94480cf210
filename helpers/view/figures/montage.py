"""Slice montage: image, truth, prediction and errors, through the most error and the most foreground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from helpers.data.geometry import Geometry
from helpers.view.figures.overlay import MASKS, add_legend, axis_letters, column_titles, paint_labels, pick_slices
from helpers.view.figures.save import add_caption, grid_of_pictures
from helpers.view.windows import GreyWindow

_INK = "#222222"
_COLUMN_WIDTH_IN = 2.3


def draw_montage(
    case_id: str,
    channel: np.ndarray,
    prediction: np.ndarray,
    truth: np.ndarray | None,
    *,
    geometry: Geometry,
    class_names: Sequence[str],
    window: GreyWindow,
    scores: Mapping[str, float | None] | None = None,
    compared: tuple[str, str] = MASKS,
):
    """A figure of two rows of slices; columns are image, truth, prediction and errors.

    Args:
        case_id, scores: for the caption.
        channel: grey values (Z, Y, X).
        prediction, truth: class indices (Z, Y, X) of `class_names`; without a truth its columns are left out.
        geometry: for pixel shape and the letters R, L, A, P.
        window: which grey values become black and white; named in the caption.
        compared: what `truth` and `prediction` are called; two runs have differences in place of errors.
    """
    columns = ["image", "truth", "prediction", "errors"] if truth is not None else ["image", "prediction"]
    titles, picks, (low, high) = column_titles(compared), pick_slices(prediction, truth), window.limits(channel)
    box, aspect = _box_of(channel > low), geometry.spacing_mm_zyx[1] / geometry.spacing_mm_zyx[2]
    rows, wide = (box[0].stop - box[0].start) * aspect, max(1, box[1].stop - box[1].start)
    figure, axes = grid_of_pictures(len(picks), len(columns), _COLUMN_WIDTH_IN, rows / wide)
    for row, (index, reason) in enumerate(picks):
        grey = np.clip((channel[index][box] - low) / (high - low), 0, 1)
        labels = {"prediction": prediction[index][box], "truth": None if truth is None else truth[index][box]}
        for axis, column in zip(axes[row], columns, strict=True):
            axis.imshow(paint_labels(grey, column, labels), aspect=aspect, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            _letter(axis, geometry)
        axes[row][0].set_ylabel(f"slice {index}, {reason}", fontsize=9, color=_INK)
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title(titles[column], fontsize=10, color=_INK)
    add_legend(figure, class_names, prediction, truth, compared)
    add_caption(figure, case_id, _second_line(scores or {}, window.caption(channel)))
    return figure


def _second_line(scores: Mapping[str, float | None], window_caption: str) -> str:
    shown = ", ".join(f"{name} {value:.3f}" for name, value in scores.items() if value is not None)
    return "   ".join(part for part in (shown, window_caption) if part)


def _box_of(shown: np.ndarray) -> tuple[slice, slice]:
    """The part of the slices where something is brighter than black, with a margin of four pixels."""
    seen = shown.any(axis=0)
    if not seen.any():
        return slice(0, seen.shape[0]), slice(0, seen.shape[1])
    spans = []
    for axis in (0, 1):
        hit = np.flatnonzero(seen.any(axis=1 - axis))
        spans.append(slice(max(0, hit[0] - 4), min(seen.shape[axis], hit[-1] + 5)))
    return spans[0], spans[1]


def _letter(axis, geometry: Geometry) -> None:
    from matplotlib.patheffects import withStroke

    letters = axis_letters(geometry.direction)
    dark_rim = [withStroke(linewidth=2, foreground="#000000")]
    style = {"color": "#FFE680", "fontsize": 9, "fontweight": "bold", "path_effects": dark_rim}
    style["transform"] = axis.transAxes
    axis.text(0.015, 0.5, letters["x"][0], ha="left", va="center", **style)
    axis.text(0.985, 0.5, letters["x"][1], ha="right", va="center", **style)
    axis.text(0.5, 0.98, letters["y"][0], ha="center", va="top", **style)
    axis.text(0.5, 0.02, letters["y"][1], ha="center", va="bottom", **style)
