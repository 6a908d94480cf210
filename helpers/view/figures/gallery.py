"""One photograph with its truth, prediction and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from helpers.view.figures.overlay import add_legend, paint_labels
from helpers.view.figures.save import new_figure

_COLUMN_WIDTH_IN = 3.0
_SHOWN_PIXELS = 480


def draw_gallery(
    case_id: str,
    image: np.ndarray,
    prediction: np.ndarray,
    truth: np.ndarray | None,
    class_names: Sequence[str],
    scores: Mapping[str, float | None] | None = None,
):
    """A row of pictures: image, truth, prediction, errors.

    Args:
        case_id: for the caption.
        image: (3, H, W) uint8 RGB.
        prediction, truth: class indices (H, W); 255 in the truth is not judged; no truth, no columns of it.
        class_names: of the class indices.
        scores: shown in the caption.
    """
    columns = ["image", "truth", "prediction", "errors"] if truth is not None else ["image", "prediction"]
    every = max(1, max(image.shape[1:]) // _SHOWN_PIXELS)  # a notebook shows fewer pixels than a camera has
    picture = image[:, ::every, ::every].transpose(1, 2, 0) / 255.0
    labels = {"prediction": prediction[::every, ::every], "truth": None if truth is None else truth[::every, ::every]}
    height = _COLUMN_WIDTH_IN * picture.shape[0] / picture.shape[1]
    figure = new_figure(_COLUMN_WIDTH_IN * len(columns), height + 0.9)
    axes = figure.subplots(1, len(columns), squeeze=False, gridspec_kw={"wspace": 0.03})[0]
    for axis, column in zip(axes, columns, strict=True):
        axis.imshow(paint_labels(picture, column, labels), interpolation="nearest")
        axis.set_title(column, fontsize=10)
        axis.set_axis_off()
    add_legend(figure, class_names, prediction, truth)
    shown = ", ".join(f"{name} {value:.3f}" for name, value in (scores or {}).items() if value is not None)
    figure.suptitle(f"{case_id}   {shown}", fontsize=10, x=0.125, ha="left", y=0.99)
    return figure
