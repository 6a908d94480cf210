"""Charts of a run's figures: seconds, bytes and node counts as bars, scores as strips of dots, errors by size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from helpers.scoring.bootstrap import mean_interval
from helpers.view.figures.canvas import IDENTIFYING, new_figure
from helpers.view.palette import ACCENT, FAILED, GRID, INK, MUTED, SECONDARY, label_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DOT_SPREAD = 0.16  # half the width of a strip of dots
_ERROR_KINDS = (("largest", "D", "maximum", 1), ("p999", "s", "99.9th percentile", 2), ("mean", "o", "mean", 4))
_SMALLEST_ERROR, _LARGEST_NODE_ERROR = 1e-9, 10.0  # a logarithmic axis shows neither zero nor infinity


def draw_stage_times(seconds: Mapping[str, float]) -> Figure:
    """Draws one horizontal bar per stage, in the order given."""
    figure, axis = _bar_chart(len(seconds))
    _draw_bars(axis, seconds, lambda value: f" {value:.1f} s" if value >= 0.1 else f" {value:.3f} s")
    axis.set_xlabel("seconds in the last run that performed a stage (a reused one costs only its check)", fontsize=9)
    return figure


def draw_sizes(sizes: Mapping[str, int]) -> Figure:
    """Draws the size of each form of a model in megabytes, in the order given.

    Args:
        sizes: form to bytes.
    """
    figure, axis = _bar_chart(len(sizes))
    megabytes = {name: size / 1e6 for name, size in sizes.items()}
    _draw_bars(axis, megabytes, lambda value: f" {value:.2f} MB")
    axis.set_xlabel("megabytes on disk", fontsize=9)
    return figure


def draw_op_changes(before: Mapping[str, int], after: Mapping[str, int], names: tuple[str, str]) -> Figure:
    """Draws two bars per op: its number of nodes in two forms of a graph.

    Args:
        before, after: op to number of nodes.
        names: of the two forms.
    """
    ops = sorted({*before, *after}, key=lambda op: (-max(before.get(op, 0), after.get(op, 0)), op))
    figure, axis = _bar_chart(1.4 * len(ops))
    for counts, offset, colour, name in ((before, -0.2, MUTED, names[0]), (after, 0.2, ACCENT, names[1])):
        values = [counts.get(op, 0) for op in ops]
        places = [index + offset for index in range(len(ops))]
        axis.barh(places, values, height=0.38, color=colour, label=f"{name}: {sum(values)} nodes")
        for place, value in zip(places, values, strict=True):
            axis.text(value, place, f" {value}", va="center", fontsize=8)
    axis.set_yticks(range(len(ops)), ops)
    axis.set_xlabel("nodes", fontsize=9)
    axis.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def draw_case_times(seconds: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draws one bar per case, stacked by step.

    Args:
        seconds: case to step to seconds; all cases have the same steps.
    """
    figure, axis = _bar_chart(len(seconds) + 1)
    cases = list(seconds)
    steps = list(dict.fromkeys(step for parts in seconds.values() for step in parts))
    left = [0.0] * len(cases)
    for index, step in enumerate(steps):
        widths = [seconds[case].get(step, 0.0) for case in cases]
        axis.barh(cases, widths, left=left, height=0.65, color=label_colour(index + 1), label=step)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for place, total in enumerate(left):
        axis.text(total, place, f" {total:.2f} s", va="center", fontsize=8)
    for label in axis.get_yticklabels():
        label.set_gid(IDENTIFYING)
    axis.set_xlabel("seconds per case, measured when its mask was made", fontsize=9)
    _put_legend_above(axis, len(steps))
    return figure


def draw_scores(
    scores: Mapping[str, Mapping[str, float | None]], limits: Mapping[str, float] | None = None
) -> Figure:
    """Draws a strip of dots per score, one dot per case, with the mean and its 95 % bootstrap interval.

    Args:
        scores: case to score name to value; None (nothing to find in the case) is left out and not counted in n.
        limits: score name to the required mean, drawn as a dashed line.
    """
    names = list(dict.fromkeys(name for values in scores.values() for name in values))
    limits = {name: limit for name, limit in (limits or {}).items() if name in names}
    figure = new_figure(max(4.6, 1.6 + 1.15 * len(names)), 3.4)
    axis = figure.subplots()
    known = {name: np.array([v for row in scores.values() if (v := row.get(name)) is not None]) for name in names}
    for place, name in enumerate(names):
        if known[name].size:
            _draw_strip(axis, place, known[name], ".3f")
        if name in limits:
            axis.hlines(limits[name], place - 0.4, place + 0.4, color=ACCENT, linestyle="--", linewidth=1.2)
    lowest = min([*limits.values(), *(float(values.min()) for values in known.values() if values.size)], default=0.0)
    axis.set_ylim(0 if lowest < 0.5 else np.floor(lowest * 10) / 10 - 0.05, 1.02)
    _style_strips(axis, [f"{name}\nn = {known[name].size}" for name in names])
    axis.set_title("score of each case; bar: mean and its 95 % bootstrap interval", fontsize=9, loc="left")
    if limits:
        axis.plot([], [], color=ACCENT, linestyle="--", linewidth=1.2, label="required mean")
        axis.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def draw_differences(values: Mapping[str, Sequence[float]]) -> Figure:
    """Draws a strip of dots per paired difference, with zero as a dashed line.

    Args:
        values: name of the strip to its differences, one per case.
    """
    figure = new_figure(max(4.6, 1.6 + 1.6 * len(values)), 3.6)
    axis = figure.subplots()
    for place, differences in enumerate(values.values()):
        _draw_strip(axis, place, np.array(differences, float), "+.5f")
    axis.axhline(0, color=ACCENT, linestyle="--", linewidth=1.2)
    _style_strips(axis, list(values))
    title = "difference from the first run, one dot per case\nbar: mean and its 95 % bootstrap interval"
    axis.set_title(title, fontsize=9, loc="left")
    return figure


def draw_errors(rows: Mapping[str, Mapping[str, float]], limits: Mapping[str, float]) -> Figure:
    """Draws the errors of each form of a model on a logarithmic scale, one row per form, with its limit in red.

    Args:
        rows: form of the model to its `largest`, `p999` and `mean` error, as fractions of the output's range.
        limits: form to the error above which the run fails.
    """
    figure = new_figure(7.2, 0.5 * len(rows) + 1.3)
    axis = figure.subplots()
    for place, (name, row) in enumerate(rows.items()):
        for kind, marker, label, colour in _ERROR_KINDS:
            axis.plot(
                [max(row[kind], _SMALLEST_ERROR)],
                [place],
                marker,
                markersize=8,
                color=label_colour(colour),
                markeredgecolor=INK,
                markeredgewidth=0.4,
                label="" if place else label,
            )
        largest = max(row["largest"], _SMALLEST_ERROR)
        _write_next_to(axis, (largest, place), f"{row['largest']:.1e}", 9)
        axis.vlines(
            limits[name], place - 0.35, place + 0.35, color=FAILED, linewidth=1.6, label="" if place else "limit"
        )
    axis.set_xscale("log")
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(axis="x", color=GRID, linewidth=0.8)
    axis.set_xlabel("error against PyTorch, as a fraction of the output's range", fontsize=9)
    _style(axis)
    _put_legend_above(axis, 4)
    return figure


class NodeErrorRow(Protocol):
    """A node of a graph and the error of its output as a fraction of that output's range."""

    @property
    def node(self) -> str: ...
    @property
    def op(self) -> str: ...
    @property
    def error(self) -> float: ...


def draw_node_errors(
    title: str, rows: Sequence[NodeErrorRow], tolerance: float, culprit: NodeErrorRow | None
) -> Figure:
    """Draws the error of every node by its place in the graph; the culprit is ringed and named.

    Args:
        title: of the recipe.
        rows: in the graph's order; errors that are not finite are drawn at the top.
        tolerance: drawn as a dashed line.
        culprit: one of the rows, or None.
    """
    figure = new_figure(9, 3.2)
    axis = figure.subplots()
    errors = [min(max(row.error, _SMALLEST_ERROR), _LARGEST_NODE_ERROR) for row in rows]
    axis.plot(range(len(rows)), errors, "-", color=MUTED, linewidth=0.8, zorder=1)
    layers = [index for index, row in enumerate(rows) if row.op in ("Conv", "ConvTranspose")]
    axis.plot(layers, [errors[index] for index in layers], ".", color=ACCENT, label="convolutions", markersize=5)
    axis.axhline(tolerance, color=SECONDARY, linewidth=1, linestyle="--", label=f"tolerance {tolerance:g}")
    if culprit is not None:
        place = next(index for index, row in enumerate(rows) if row is culprit)
        axis.plot(place, errors[place], "o", color=FAILED, fillstyle="none", markersize=12, markeredgewidth=2)
        axis.annotate(
            f"{culprit.op} {culprit.node}",
            (place, errors[place]),
            xytext=(8 if place < len(rows) / 2 else -8, 8),
            textcoords="offset points",
            fontsize=8,
            color=FAILED,
            ha="left" if place < len(rows) / 2 else "right",
        )
    axis.set_yscale("log")
    axis.set_xlabel("node, from input to output", fontsize=9)
    axis.set_ylabel("maximum error, fraction of range", fontsize=9)
    axis.set_title(title, fontsize=10, loc="left")
    _style(axis)
    axis.legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    return figure


def _bar_chart(bars: float) -> tuple[Figure, Axes]:
    figure = new_figure(7.2, 0.28 * bars + 0.8)
    axis = figure.subplots()
    axis.invert_yaxis()
    axis.margins(x=0.12)
    _style(axis)
    return figure, axis


def _draw_bars(axis: Axes, values: Mapping[str, float], show: Callable[[float], str]) -> None:
    axis.barh(list(values), list(values.values()), color=ACCENT, height=0.65)
    for index, value in enumerate(values.values()):
        axis.text(value, index, show(value), va="center", fontsize=8)


def _draw_strip(axis: Axes, place: int, values: np.ndarray, form: str) -> None:
    # Equal pictures must be equal bytes: dots are spread by their rank, not at random.
    order = values.argsort(kind="stable").argsort(kind="stable")
    side = ((order * 0.618) % 1 - 0.5) * 2 * _DOT_SPREAD if values.size > 1 else np.zeros(1)
    axis.scatter(
        place - 0.1 + side,
        values,
        s=26,
        color=label_colour(place + 1),
        edgecolors=INK,
        linewidths=0.4,
        alpha=0.9,
        zorder=2,
    )
    mean, interval, right = float(values.mean()), mean_interval(values), place + 0.24
    if interval is not None:
        axis.vlines(right, *interval, color=INK, linewidth=2, zorder=3)
    axis.plot([right], [mean], marker="D", markersize=5, color=INK, zorder=4)
    _write_next_to(axis, (right, mean), f"{mean:{form}}".replace("-", "\N{MINUS SIGN}"), 6)


def _write_next_to(axis: Axes, point: tuple[float, float], text: str, distance_pt: float) -> None:
    axis.annotate(text, point, (distance_pt, 0), textcoords="offset points", fontsize=8, va="center")


def _style_strips(axis: Axes, names: Sequence[str]) -> None:
    axis.set_xticks(range(len(names)), names)
    axis.set_xlim(-0.6, max(0, len(names) - 1) + 0.6)
    axis.grid(axis="y", color=GRID, linewidth=0.8)
    _style(axis)


def _style(axis: Axes) -> None:
    axis.tick_params(labelsize=8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _put_legend_above(axis: Axes, columns: int) -> None:
    axis.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns)
