"""One photograph with its truth, prediction and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from helpers.view.figures.overlay import MASKS, add_legend, column_titles, paint_labels
from helpers.view.figures.save import IDENTIFIES, add_caption, grid_of_pictures

_COLUMN_WIDTH_IN = 2.5
_SHOWN_PIXELS = 400


def draw_gallery(
    case_id: str,
    image: np.ndarray,
    prediction: np.ndarray,
    truth: np.ndarray | None,
    class_names: Sequence[str],
    scores: Mapping[str, float | None] | None = None,
    compared: tuple[str, str] = MASKS,
):
    """A row of pictures: image, truth, prediction, errors.

    Args:
        case_id: for the caption.
        image: (3, H, W) uint8 RGB.
        prediction, truth: class indices (H, W); 255 in the truth is not judged; no truth, no columns of it.
        class_names: of the class indices.
        scores: shown in the caption.
        compared: what `truth` and `prediction` are called; two runs have differences in place of errors.
    """
    columns = ["image", "truth", "prediction", "errors"] if truth is not None else ["image", "prediction"]
    every = max(1, max(image.shape[1:]) // _SHOWN_PIXELS)  # a notebook shows fewer pixels than a camera has
    picture = image[:, ::every, ::every].transpose(1, 2, 0) / 255.0
    labels = {"prediction": prediction[::every, ::every], "truth": None if truth is None else truth[::every, ::every]}
    ratio = picture.shape[0] / picture.shape[1]
    figure, axes = grid_of_pictures(1, len(columns), _COLUMN_WIDTH_IN, ratio)
    for axis, column in zip(axes[0], columns, strict=True):
        axis.imshow(paint_labels(picture, column, labels), interpolation="nearest")
        axis.set_title(column_titles(compared)[column], fontsize=10)
        axis.set_axis_off()
    add_legend(figure, class_names, prediction, truth, compared)
    shown = ", ".join(f"{name} {value:.3f}" for name, value in (scores or {}).items() if value is not None)
    add_caption(figure, case_id, shown)
    return figure


_COLUMN_WIDTH_IN_previews = 2.3
_SHOWN_PIXELS_previews = 360


def draw_previews(pictures: Sequence[tuple[str, np.ndarray, np.ndarray | None, float]]):
    """A row of cases with what is marked in them.

    Args:
        pictures: case name, picture (H, W) or (H, W, 3) in 0 to 1, class indices (H, W) or None, height over width
            of a pixel.
    """
    small = [(name, *_thin(picture, truth), aspect) for name, picture, truth, aspect in pictures]
    ratio = max(picture.shape[0] * aspect / picture.shape[1] for _, picture, _, aspect in small)
    figure, axes = grid_of_pictures(1, len(small), _COLUMN_WIDTH_IN_previews, ratio)
    for axis, (name, picture, truth, aspect) in zip(axes[0], small, strict=True):
        axis.imshow(paint_labels(picture, "truth", {"truth": truth}), aspect=aspect, interpolation="nearest")
        axis.set_title(name, fontsize=9, gid=IDENTIFIES)
        axis.set_axis_off()
    return figure


def _thin(picture: np.ndarray, truth: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    every = max(1, max(picture.shape[:2]) // _SHOWN_PIXELS_previews)
    return picture[::every, ::every], None if truth is None else truth[::every, ::every]
