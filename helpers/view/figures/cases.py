"""Pictures of cases with their masks laid over them: slices of a volume, a photograph, a row of previews."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from helpers.data.geometry import Geometry
from helpers.data.regions import Box, bounding_box
from helpers.view import comparison
from helpers.view.comparison import IGNORED, compare_labels
from helpers.view.figures.canvas import IDENTIFYING, add_caption, grid_of_pictures
from helpers.view.orientation import axis_letters
from helpers.view.palette import INK, label_colour, rgb
from helpers.view.windows import GreyWindow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

MASKS = ("truth", "prediction")  # titles of the two masks, unless two runs are compared
_OPACITY = 0.55
_OUTLINES: dict[int, tuple[Literal["solid", "dashed"], str]] = {
    comparison.MISSING: ("solid", "lesion missed as a whole"),
    comparison.EXTRA: ("dashed", "false lesion"),
}
_MONTAGE_COLUMN_IN, _GALLERY_COLUMN_IN, _PREVIEW_COLUMN_IN = 2.3, 2.5, 2.3
_GALLERY_PIXELS, _PREVIEW_PIXELS = 400, 360  # a notebook shows fewer pixels than a camera has


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
    lesions: np.ndarray | None = None,
) -> Figure:
    """Draws two rows of slices, of the most error and the most foreground: image, truth, prediction, errors.

    Args:
        case_id, scores: for the caption.
        channel: grey values (Z, Y, X).
        prediction, truth: class indices (Z, Y, X); without a truth, its column and the errors are left out.
        geometry: for the shape of pixels and the letters R, L, A, P.
        class_names: by class index.
        window: which grey values become black and white; named in the caption.
        compared: titles of `truth` and `prediction`; for two runs, the last column shows differences, not errors.
        lesions: (Z, Y, X) codes, outlined in the last column: `MISSING` where missed as a whole, `EXTRA` where false.
    """
    columns, picks, (low, high) = _columns(truth), pick_slices(prediction, truth), window.limits(channel)
    box, aspect = _shown_box(channel > low), geometry.spacing_mm_zyx[1] / geometry.spacing_mm_zyx[2]
    height, width = (box[0].stop - box[0].start) * aspect, max(1, box[1].stop - box[1].start)
    figure, axes = grid_of_pictures(len(picks), len(columns), _MONTAGE_COLUMN_IN, height / width)
    for row, (index, reason) in zip(axes, picks, strict=True):
        grey = np.clip((channel[index][box] - low) / (high - low), 0, 1)
        labels = {"prediction": prediction[index][box], "truth": None if truth is None else truth[index][box]}
        for axis, column in zip(row, columns, strict=True):
            _show_slice(axis, paint_labels(grey, column, labels), aspect, geometry)
        _outline_lesions(row[-1], None if lesions is None else lesions[index][box])
        row[0].set_ylabel(f"slice {index}, {reason}", fontsize=9, color=INK)
    _write_titles(axes[0], [_column_titles(compared)[column] for column in columns])
    _add_legend(figure, class_names, prediction, truth, compared, _lesion_lines(lesions, picks))
    add_caption(figure, case_id, "   ".join(filter(None, (_show_scores(scores), window.caption(channel)))))
    return figure


def _show_slice(axis: Axes, picture: np.ndarray, aspect: float, geometry: Geometry) -> None:
    axis.imshow(picture, aspect=aspect, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    _write_letters(axis, geometry)


def _write_titles(axes: Sequence[Axes], titles: Sequence[str]) -> None:
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=10, color=INK)


def draw_gallery(
    case_id: str,
    image: np.ndarray,
    prediction: np.ndarray,
    truth: np.ndarray | None,
    class_names: Sequence[str],
    scores: Mapping[str, float | None] | None = None,
    compared: tuple[str, str] = MASKS,
) -> Figure:
    """Draws a photograph as a row of pictures: image, truth, prediction, errors.

    Args:
        case_id, scores: for the caption.
        image: (C, H, W), as `picture_to_show` takes it.
        prediction, truth: class indices (H, W), 255 in the truth is not judged; without a truth, its column and the
            errors are left out.
        class_names: by class index.
        compared: titles of `truth` and `prediction`; for two runs, the last column shows differences, not errors.
    """
    columns = _columns(truth)
    picture = _thin(picture_to_show(image), _GALLERY_PIXELS)
    labels = {
        "prediction": _thin(prediction, _GALLERY_PIXELS),
        "truth": None if truth is None else _thin(truth, _GALLERY_PIXELS),
    }
    figure, axes = grid_of_pictures(1, len(columns), _GALLERY_COLUMN_IN, picture.shape[0] / picture.shape[1])
    for axis, column in zip(axes[0], columns, strict=True):
        axis.imshow(paint_labels(picture, column, labels), interpolation="nearest")
        axis.set_title(_column_titles(compared)[column], fontsize=10, color=INK)
        axis.set_axis_off()
    _add_legend(figure, class_names, prediction, truth, compared)
    add_caption(figure, case_id, _show_scores(scores))
    return figure


def picture_to_show(image: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) in 0 to 1 from channels (C, H, W).

    Bytes keep their grey levels; other numbers, such as reflectances, are stretched between two percentiles. Of more
    than three channels the first three are shown, of two the first.

    >>> picture_to_show(np.array([[[0, 51]]], np.uint8))[0, :, 0].tolist()
    [0.0, 0.2]
    """
    shown = image[:3] if len(image) >= 3 else np.repeat(image[:1], 3, axis=0)
    low, high = (0.0, 255.0) if image.dtype == np.uint8 else np.percentile(shown, (1, 99))
    return ((shown.transpose(1, 2, 0) - low) / ((high - low) or 1.0)).clip(0, 1)


def draw_previews(pictures: Sequence[tuple[str, np.ndarray, np.ndarray | None, float]]) -> Figure:
    """Draws a row of cases with their ground truth.

    Args:
        pictures: case id, picture (H, W) or (H, W, 3) in 0 to 1, class indices (H, W) or None, height over width of a
            pixel.
    """
    small = [
        (name, _thin(picture, _PREVIEW_PIXELS), None if truth is None else _thin(truth, _PREVIEW_PIXELS), aspect)
        for name, picture, truth, aspect in pictures
    ]
    ratio = max(picture.shape[0] * aspect / picture.shape[1] for _, picture, _, aspect in small)
    figure, axes = grid_of_pictures(1, len(small), _PREVIEW_COLUMN_IN, ratio)
    for axis, (name, picture, truth, aspect) in zip(axes[0], small, strict=True):
        axis.imshow(paint_labels(picture, "truth", {"truth": truth}), aspect=aspect, interpolation="nearest")
        axis.set_title(name, fontsize=9, gid=IDENTIFYING)
        axis.set_axis_off()
    return figure


def pick_slices(prediction: np.ndarray, truth: np.ndarray | None, count: int = 2) -> list[tuple[int, str]]:
    """Picks indices along Z, each with its reason: the most error first (if there is any), then the most foreground.

    Slices are at least four apart, so that a thin volume gives fewer than `count`, but always one.
    """
    picks: list[tuple[int, str]] = []
    worst = None if truth is None else comparison.worst_slice(prediction, truth)
    if worst is not None:
        picks.append((worst, "most error"))
    shown = prediction if truth is None else np.maximum(prediction, truth)
    foreground = np.count_nonzero(shown, axis=(1, 2)).astype(np.int64)
    for index, _ in picks:
        foreground[max(0, index - 3) : index + 4] = -1
    while len(picks) < count and foreground.max() >= 0:
        index = int(foreground.argmax())
        picks.append((index, "most foreground" if foreground[index] else "no foreground"))
        foreground[max(0, index - 3) : index + 4] = -1
    return picks


def paint_labels(picture: np.ndarray, column: str, labels: Mapping[str, np.ndarray | None]) -> np.ndarray:
    """Lays one column's overlay over a picture.

    Args:
        picture: grey (H, W) or RGB (H, W, 3), in 0 to 1.
        column: "truth" or "prediction" tints the classes, "errors" what is correct, extra and missed; any other value
            leaves the picture as it is.
        labels: class indices (H, W) under "truth" and "prediction"; 255 in the truth is not judged.

    Returns:
        (H, W, 3) in 0 to 1.
    """
    picture = np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture.copy()
    prediction, truth = labels.get("prediction"), labels.get("truth")
    if column == "errors" and prediction is not None and truth is not None:
        codes = compare_labels(prediction, truth)
        for code, colour in comparison.COLOURS.items():
            _tint(picture, codes == code, colour)
    elif (shown := labels.get(column)) is not None:
        for index in np.unique(shown):
            if index and index != IGNORED:
                _tint(picture, shown == index, label_colour(int(index)))
    return picture


def _tint(picture: np.ndarray, where: np.ndarray, colour: str) -> None:
    picture[where] = (1 - _OPACITY) * picture[where] + _OPACITY * np.array(rgb(colour))


def _columns(truth: np.ndarray | None) -> tuple[str, ...]:
    return ("image", "prediction") if truth is None else ("image", "truth", "prediction", "errors")


def _column_titles(compared: tuple[str, str]) -> dict[str, str]:
    last = "errors" if compared == MASKS else "differences"
    return {"image": "image", "truth": compared[0], "prediction": compared[1], "errors": last}


def _show_scores(scores: Mapping[str, float | None] | None) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in (scores or {}).items() if value is not None)


def _thin(picture: np.ndarray, longest: int) -> np.ndarray:
    """Every n-th pixel of (H, W) or (H, W, 3), so that the longer side has about `longest` pixels."""
    every = max(1, max(picture.shape[:2]) // longest)
    return picture[::every, ::every]


def _shown_box(shown: np.ndarray) -> Box:
    """The part of the slices (Z, Y, X) where something is brighter than black, with a margin of four pixels."""
    return bounding_box(np.any(shown, axis=0), margin=4) or tuple(slice(0, side) for side in shown.shape[1:])


def _write_letters(axis: Axes, geometry: Geometry) -> None:
    """Writes the patient directions at the sides of an axial slice."""
    from matplotlib.patheffects import withStroke

    if not geometry.is_patient:
        return
    letters = axis_letters(geometry.direction)
    for x, y, letter, horizontal, vertical in (
        (0.015, 0.5, letters["x"][0], "left", "center"),
        (0.985, 0.5, letters["x"][1], "right", "center"),
        (0.5, 0.98, letters["y"][0], "center", "top"),
        (0.5, 0.02, letters["y"][1], "center", "bottom"),
    ):
        axis.text(
            x,
            y,
            letter,
            ha=horizontal,
            va=vertical,
            color="#FFE680",
            fontsize=9,
            fontweight="bold",
            path_effects=[withStroke(linewidth=2, foreground="#000000")],
            transform=axis.transAxes,
        )


def _add_legend(
    figure: Figure,
    class_names: Sequence[str],
    prediction: np.ndarray,
    truth: np.ndarray | None,
    compared: tuple[str, str],
    outlines: Sequence[Line2D] = (),
) -> None:
    """Names the colours of the classes that occur at the left, and those of the errors at the right."""
    from matplotlib.patches import Patch

    masks = [mask for mask in (prediction, truth) if mask is not None]
    classes: list[Patch | Line2D] = [
        Patch(color=label_colour(index), label=name)
        for index, name in enumerate(class_names)
        if index and any((mask == index).any() for mask in masks)
    ]
    _add_key(figure, classes, "labels", "left")
    if truth is not None:
        names = comparison.ERROR_NAMES
        if compared != MASKS:
            reference, other = compared
            names = {
                comparison.SAME: "same in both",
                comparison.EXTRA: f"only or differently in {other}",
                comparison.MISSING: f"only in {reference}",
            }
        errors = [Patch(color=colour, label=names[code]) for code, colour in comparison.COLOURS.items()]
        _add_key(figure, [*errors, *outlines], _column_titles(compared)["errors"], "right")


def _outline_lesions(axis: Axes, lesions: np.ndarray | None) -> None:
    """Draws a line around each missed and each false lesion in a slice (H, W) of codes, if there are any."""
    if lesions is None:
        return
    for code, (style, _) in _OUTLINES.items():
        where = np.pad(lesions == code, 1)
        if where.any():
            reach = np.arange(-1, lesions.shape[0] + 1), np.arange(-1, lesions.shape[1] + 1)
            for width, colour in ((2.6, INK), (1.2, "white")):  # readable on any tissue and any error
                axis.contour(reach[1], reach[0], where, [0.5], colors=colour, linewidths=width, linestyles=style)


def _lesion_lines(lesions: np.ndarray | None, picks: Sequence[tuple[int, str]]) -> list[Line2D]:
    """Names the outlines that occur in the slices shown."""
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke

    ink = [withStroke(linewidth=3, foreground=INK)]
    return [
        Line2D([], [], color="white", linestyle=style, linewidth=1.4, path_effects=ink, label=name)
        for code, (style, name) in _OUTLINES.items()
        if lesions is not None and any((lesions[index] == code).any() for index, _ in picks)
    ]


def _add_key(figure: Figure, patches: list[Patch | Line2D], title: str, side: Literal["left", "right"]) -> None:
    from matplotlib.font_manager import FontProperties

    if not patches:
        return
    legend = figure.legend(
        handles=patches,
        loc="lower left" if side == "left" else "lower right",
        bbox_to_anchor=(0.01 if side == "left" else 0.99, 0.0),
        ncols=min(6, len(patches)),
        alignment="left",
        fontsize=8,
        frameon=False,
        borderpad=0,
        handlelength=1.6,
        columnspacing=1.4,
    )
    legend.set_title(title, prop=FontProperties(size=8, weight="bold"))
