"""Pictures of the objects of a run: small, static, and with the figures that they show."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.data.case import Case
from helpers.errors import ParameterError
from helpers.explore.objects import Trial
from helpers.inference.scores import lead_of_best, sigmoid, slab_to_labels, softmax
from helpers.recipes.base import Recipe
from helpers.run import Run
from helpers.scoring.dice import dice
from helpers.stages.labels import run_labels
from helpers.view.figures import picture_to_show
from helpers.view.figures.canvas import grid_of_pictures, new_figure, shrink_png
from helpers.view.figures.cases import paint_labels
from helpers.view.palette import ACCENT, GRID, INK
from helpers.view.tables import RichText, note, table
from helpers.view.windows import percentile_limits

if TYPE_CHECKING:
    import onnx
    from matplotlib.figure import Figure

_LARGEST_BYTES = 60_000  # an executed notebook holds one picture per section of these, and stays below 3 MB
_COLUMN_IN = 2.3


@dataclass(frozen=True)
class Shown:
    """A picture with its figures in words.

    Attributes:
        text: one line.
        values: the figures.
        png: the picture.
    """

    text: str
    values: Mapping[str, Any]
    png: bytes

    def __repr__(self) -> str:
        return self.text

    def _repr_png_(self) -> bytes:
        return self.png


def show_intensities(before: np.ndarray, after: np.ndarray, name: str = "intensities") -> Shown:
    """Draws the histograms of the same voxels before and after the preparation, each with its range.

    Args:
        before, after: of any shape; zeros before it are left out, as they are air in many images.
        name: of what is shown.
    """
    figure = new_figure(7.2, 2.2)
    values: dict[str, Any] = {}
    for axis, array, title in zip(figure.subplots(1, 2), (before, after), ("as stored", "prepared"), strict=True):
        inside = array[array != 0] if title == "as stored" and np.any(array) else array.ravel()
        axis.hist(inside.ravel().astype(np.float32), bins=80, color=ACCENT)
        mean, deviation = float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64))
        values[title] = {"mean": mean, "deviation": deviation, "low": float(array.min()), "high": float(array.max())}
        axis.set_title(f"{name}, {title}: mean {mean:.3g}, deviation {deviation:.3g}", fontsize=9, color=INK)
        axis.set_yticks([])
        axis.grid(color=GRID)
        axis.tick_params(labelsize=8)
    figure.subplots_adjust(left=0.02, right=0.98, bottom=0.14, top=0.86, wspace=0.06)
    words = [f"{title}: {row['low']:.4g} to {row['high']:.4g}" for title, row in values.items()]
    return Shown(f"{name}, {'; '.join(words)}", values, _encode(figure))


def show_difference(
    first: np.ndarray, second: np.ndarray, names: tuple[str, str] = ("PyTorch", "device"), channel: int | None = None
) -> Shown | RichText:
    """Draws one score map of two forms of a model and their difference, in the slice where they differ most.

    Args:
        first, second: scores (classes, ...) of the same sample.
        names: of the two.
        channel: the class to draw; None: the one with the largest difference.
    """
    if first.shape != second.shape:
        return note(f"Nothing to compare: {names[0]} gives {first.shape}, {names[1]} gives {second.shape}.")
    difference = np.abs(first.astype(np.float64) - second)
    span = float(np.ptp(first)) or 1.0
    one = channel if channel is not None else int(difference.reshape(len(difference), -1).max(axis=1).argmax())
    plane = _plane_of(difference[one])
    maps = [_slice(array[one], plane) for array in (first, second, difference / span)]
    flips = int(np.count_nonzero(_labels(first) != _labels(second)))
    values = {"largest": float(difference.max()) / span, "mean": float(difference.mean()) / span, "flips": flips}
    where = "" if plane is None else f", slice {plane}"
    titles = (
        f"{names[0]}: class {one}{where}",
        names[1],
        f"difference, at most {values['largest']:.1e} of the range",
    )
    text = (
        f"{names[0]} and {names[1]}: largest difference {values['largest']:.1e} of the range,"
        f" {flips} of {_labels(first).size:,} labels differ"
    )
    return Shown(text, values, _encode(_draw_maps(maps, titles, ("gray", "gray", "magma"))))


def show_uncertainty(scores: np.ndarray, margin: float) -> Shown:
    """Draws where the best class leads the next by less than a margin of probability: where labels may flip.

    Args:
        scores: logits (classes, ...); one channel is a sigmoid, several are a softmax.
        margin: 0 to 1.
    """
    if not 0 <= margin <= 1:
        raise ParameterError("margin is out of range", received=margin, expected="0 to 1")
    lead = np.abs(2 * sigmoid(scores)[0] - 1) if len(scores) == 1 else lead_of_best(softmax(scores[None])[0])
    unsure, labels = lead < margin, _labels(scores)
    plane = _plane_of(unsure)
    shown = _slice(unsure, plane)
    maps = [_slice(labels, plane), _slice(lead, plane), shown]
    share = float(np.mean(unsure))
    boundary = float(np.mean(_slice(unsure, plane)))
    where = "" if plane is None else f", slice {plane}"
    titles = (f"labels{where}", "lead of the best class", f"lead below {margin:g}: {boundary:.1%} of the slice")
    text = f"the best class leads by less than {margin:g} in {share:.2%} of {unsure.size:,} places"
    return Shown(text, {"share": share}, _encode(_draw_maps(maps, titles, ("viridis", "gray", "magma"))))


def show_thresholds(probability: np.ndarray, truth: np.ndarray, thresholds: Sequence[float]) -> Shown:
    """Draws the Dice of a probability map that is cut at several thresholds.

    Args:
        probability, truth: of one shape; every label of the truth but 0 counts.
        thresholds: 0 to 1.
    """
    scores = {threshold: dice(probability > threshold, truth != 0) for threshold in thresholds}
    known = {threshold: score for threshold, score in scores.items() if score is not None}
    figure = new_figure(5.0, 2.2)
    axis = figure.subplots()
    axis.plot(list(known), list(known.values()), "o-", color=ACCENT)
    axis.set_xlabel("threshold", fontsize=9)
    axis.set_ylabel("Dice", fontsize=9)
    axis.grid(color=GRID)
    axis.tick_params(labelsize=8)
    figure.subplots_adjust(left=0.13, right=0.98, bottom=0.22, top=0.96)
    text = ", ".join(f"Dice {score:.4f} at {threshold:g}" for threshold, score in known.items())
    return Shown(text or "nothing to find", {"dice": scores}, _encode(figure))


def show_masks(recipe: Recipe, run: Run, case: Case, masks: Mapping[str, np.ndarray | Trial]) -> Shown:
    """Draws the truth and several masks of a case next to each other, each with its score and its seconds.

    Args:
        recipe, run: of the case.
        case: perhaps a part of one. Without a truth there are no scores, and the slice shows where the masks differ.
        masks: class indices on the case's grid, or trials of `segment_with`, by name.
    """
    trials = {name: each if isinstance(each, Trial) else Trial(each, {}, 0.0) for name, each in masks.items()}
    known = {} if case.truth is None else {"truth": case.truth}
    truth = next(iter(trials.values())).mask if case.truth is None else case.truth
    scores = {
        name: recipe.scoring.score(each.mask, truth, run.params) if known else {} for name, each in trials.items()
    }
    judged = truth != 255
    wrong = sum(((each.mask != truth) & judged).astype(np.int32) for each in trials.values())
    plane = None if case.geometry is None else _plane_of(wrong if np.any(wrong) else truth)
    picture = _background(recipe, run, case, plane)
    ratio = 1.0 if case.geometry is None else _pixel_ratio(case)
    figure, axes = grid_of_pictures(
        1, len(known) + len(trials), _COLUMN_IN, ratio * picture.shape[0] / picture.shape[1]
    )
    shown = {**known, **{name: each.mask for name, each in trials.items()}}
    for axis, (name, mask) in zip(axes[0], shown.items(), strict=True):
        painted = paint_labels(picture, "truth", {"truth": _slice(mask, plane)})
        axis.imshow(painted, aspect=ratio, interpolation="nearest")
        axis.set_title(name if plane is None or name != "truth" else f"truth, slice {plane}", fontsize=9, color=INK)
        words = _score_words(scores[name], trials[name].seconds) if name in scores else _label_words(recipe, run)
        axis.set_xlabel(words, fontsize=8)
        axis.set(xticks=[], yticks=[])
    lines = [f"{name}: {_score_words(scores[name], trials[name].seconds)}" for name in trials]
    return Shown("; ".join(lines).replace("\n", ", "), scores, _encode(figure))


def show_replaced(before: onnx.ModelProto, after: onnx.ModelProto) -> RichText:
    """A table of the ops that differ in number between two graphs, with the names of the nodes that are gone."""
    old, new = (Counter(node.op_type for node in model.graph.node) for model in (before, after))
    kept = {node.name for node in after.graph.node}
    rows: list[tuple[object, ...]] = []
    for op in sorted({*old, *new}, key=lambda op: (-abs(old[op] - new[op]), op)):
        gone = [node.name for node in before.graph.node if node.op_type == op and node.name not in kept]
        if old[op] != new[op] or gone:
            rows.append((op, old[op], new[op], ", ".join(gone[:6]) + (" …" if len(gone) > 6 else "") or "–"))
    return table(("op", "nodes before", "nodes after", "names that are gone"), rows or [("none", "", "", "–")])


def _labels(scores: np.ndarray) -> np.ndarray:
    """Labels of scores (classes, ...); of a class map the map itself."""
    return scores[0] if np.issubdtype(scores.dtype, np.integer) else slab_to_labels(scores)


def _plane_of(volume: np.ndarray) -> int | None:
    """The slice of a volume with the largest sum; None for a picture."""
    return int(volume.reshape(len(volume), -1).sum(axis=1).argmax()) if volume.ndim == 3 else None


def _slice(array: np.ndarray, plane: int | None) -> np.ndarray:
    return array if plane is None else array[plane]


def _draw_maps(maps: Sequence[np.ndarray], titles: Sequence[str], colours: Sequence[str]) -> Figure:
    figure, axes = grid_of_pictures(1, len(maps), _COLUMN_IN, maps[0].shape[0] / maps[0].shape[1])
    for axis, values, title, colour in zip(axes[0], maps, titles, colours, strict=True):
        axis.imshow(values, cmap=colour, interpolation="nearest")
        axis.set_title(title, fontsize=8, color=INK)
        axis.set(xticks=[], yticks=[])
    return figure


def _background(recipe: Recipe, run: Run, case: Case, plane: int | None) -> np.ndarray:
    if plane is None:
        return picture_to_show(case.image)
    channel = case.image[recipe.picture_settings(run.params).channel]
    low, high = percentile_limits(channel)
    return np.clip((channel[plane] - low) / (high - low), 0, 1)


def _pixel_ratio(case: Case) -> float:
    spacing = case.require_geometry().spacing_mm_zyx
    return spacing[1] / spacing[2]


def _score_words(scores: Mapping[str, float | None], seconds: float) -> str:
    words = [f"{name} {value:.3f}" for name, value in list(scores.items())[:3] if value is not None]
    return "\n".join([*words, *([f"{seconds:.2f} s"] if seconds else [])])


def _label_words(recipe: Recipe, run: Run) -> str:
    names = list(run_labels(recipe, run).foreground)
    return "\n".join(names) if len(names) <= 3 else f"{len(names)} classes"


def _encode(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100, bbox_inches="tight", metadata={"Software": None})
    return shrink_png(stream.getvalue(), _LARGEST_BYTES)
