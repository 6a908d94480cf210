"""Labels and errors over a picture, and the legend that names their colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from helpers.view.palette import FALSE_NEGATIVE, FALSE_POSITIVE, TRUE_POSITIVE, label_colour, rgb

MASKS = ("truth", "prediction")
_OPACITY = 0.55
_IGNORED = 255


def paint_labels(picture: np.ndarray, column: str, labels: Mapping[str, np.ndarray | None]) -> np.ndarray:
    """A picture (H, W) or (H, W, 3) in 0 to 1 with one column's overlay.

    Args:
        picture: grey or RGB.
        column: "truth" or "prediction" tints the classes, "errors" what is right, too much and missed; anything else
            leaves the picture as it is.
        labels: class indices (H, W) under "truth" and "prediction"; 255 in the truth is not judged.
    """
    picture = np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture.copy()
    if column == "errors":
        found, real = labels["prediction"], labels["truth"]
        found = np.where(real == _IGNORED, 0, found)
        real = np.where(real == _IGNORED, 0, real)
        for where, colour in (
            ((found == real) & (real > 0), TRUE_POSITIVE),
            ((found != real) & (found > 0), FALSE_POSITIVE),
            ((found != real) & (found == 0), FALSE_NEGATIVE),
        ):
            _tint(picture, where, colour)
    elif column in labels and labels[column] is not None:
        for index in np.unique(labels[column]):
            if index and index != _IGNORED:
                _tint(picture, labels[column] == index, label_colour(int(index)))
    return picture


def _tint(picture: np.ndarray, where: np.ndarray, colour: str) -> None:
    picture[where] = (1 - _OPACITY) * picture[where] + _OPACITY * np.array(rgb(colour))


def column_titles(compared: tuple[str, str]) -> dict[str, str]:
    """What the columns of a picture are called."""
    last = "errors" if compared == MASKS else "differences"
    return {"image": "image", "truth": compared[0], "prediction": compared[1], "errors": last}


def add_legend(
    figure,
    class_names: Sequence[str],
    prediction: np.ndarray,
    truth: np.ndarray | None,
    compared: tuple[str, str] = MASKS,
) -> None:
    """Names the colours of the classes that occur and, in a line of their own, those of the errors."""
    from matplotlib.patches import Patch

    masks = [mask for mask in (prediction, truth) if mask is not None]
    classes = [
        Patch(color=label_colour(index), label=name)
        for index, name in enumerate(class_names)
        if index and any((mask == index).any() for mask in masks)
    ]
    names = ("right", "too much or wrong label", "missed")
    if compared != MASKS:
        names = ("the same", f"only or otherwise in {compared[1]}", f"only in {compared[0]}")
    colours = (TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE)
    errors = [Patch(color=colour, label=name) for colour, name in zip(colours, names, strict=True)]
    style = {"fontsize": 8, "frameon": False, "borderpad": 0, "handlelength": 1.6, "columnspacing": 1.4}
    for patches, title, place in (
        (classes, "labels", 0.01),
        (errors if truth is not None else [], column_titles(compared)["errors"], 0.99),
    ):
        if patches:
            side = "left" if place < 0.5 else "right"
            columns = min(6, len(patches))
            legend = figure.legend(
                handles=patches, loc=f"lower {side}", bbox_to_anchor=(place, 0.0), ncols=columns, **style
            )
            legend.set_title(title, prop={"size": 8, "weight": "bold"})
            legend._legend_box.align = "left"


_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))  # towards smaller, towards larger, along x, y, z of the LPS space


def pick_slices(prediction: np.ndarray, truth: np.ndarray | None, count: int = 2) -> list[tuple[int, str]]:
    """Indices along Z with the reason: most error first (where there is an error), then most foreground.

    Slices lie at least four apart, so a thin volume gives fewer than `count`, but one always.
    """
    picks: list[tuple[int, str]] = []
    if truth is not None:
        errors = np.count_nonzero(prediction != truth, axis=(1, 2))
        if errors.any():
            picks.append((int(errors.argmax()), "most error"))
    shown = prediction if truth is None else np.maximum(prediction, truth)
    foreground = np.count_nonzero(shown, axis=(1, 2)).astype(np.int64)
    for index, _ in picks:
        foreground[max(0, index - 3) : index + 4] = -1
    while len(picks) < count and foreground.max() >= 0:
        index = int(foreground.argmax())
        picks.append((index, "most foreground" if foreground[index] else "no foreground"))
        foreground[max(0, index - 3) : index + 4] = -1
    return picks


def axis_letters(direction: tuple[float, ...]) -> dict[str, tuple[str, str]]:
    """For array axes x, y, z: the patient letters towards the first and the last index.

    The direction's columns are the patient directions of the array's axes (LPS: x to the left, y to the back,
    z to the head); an oblique axis gets the letter that it is nearest to.
    """
    matrix = np.array(direction, float).reshape(3, 3)
    letters = {}
    for column, name in enumerate(("x", "y", "z")):
        patient_axis = int(np.abs(matrix[:, column]).argmax())
        first, last = _LETTERS[patient_axis]
        letters[name] = (first, last) if matrix[patient_axis, column] > 0 else (last, first)
    return letters
