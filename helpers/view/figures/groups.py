"""Group plot: a small chart per score or metric, with a strip of dots per run, whose outliers are named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from helpers.view.figures.canvas import IDENTIFYING, new_figure
from helpers.view.palette import GRID, INK, label_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEGEND_COLUMNS = 3
_WIDTH_IN, _CHART_HEIGHT_IN, _LINE_IN = 10.4, 2.1, 0.2
_SCALE_IN, _DOTS_IN, _LETTER_IN = 0.65, 0.6, 0.075  # width of the numbers at the axis, of a strip's dots, of a letter
_NAME_HEIGHT_IN = 0.12
_MOST_NAMED = 6  # outliers of a strip
_LONGEST_NAME = 32


@dataclass(frozen=True)
class Strip:
    """The values of one score or metric in one run.

    Attributes:
        values: by case.
        outliers: the cases to name, the farthest first.
    """

    values: Mapping[str, float]
    outliers: Sequence[str] = ()


def draw_groups(
    charts: Mapping[str, Sequence[Strip]], runs: Sequence[str], sites: Mapping[str, str] | None = None
) -> Figure:
    """Draws one dot per case, a line at the median of each strip, and the ids of outliers.

    Args:
        charts: name of the score or metric, with its unit, to its strips in the order of the runs.
        runs: the names of the runs; each is a colour, unless `sites` are given.
        sites: case to its site; each site is a colour.
    """
    strip_in = _DOTS_IN + _LETTER_IN * _longest_name(charts)
    columns = max(1, min(len(charts), int(_WIDTH_IN / (_SCALE_IN + strip_in * len(runs)))))
    rows = max(1, math.ceil(len(charts) / columns))
    keys = list(dict.fromkeys(sites[case] for case in sorted(sites))) if sites else list(runs)
    lines = math.ceil(len(keys) / _LEGEND_COLUMNS) + (len(runs) if sites else 0)
    top_in = _LINE_IN * (lines + 2)
    height_in = rows * _CHART_HEIGHT_IN + top_in
    figure = new_figure(max(5.0, columns * (_SCALE_IN + strip_in * len(runs))), height_in)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (name, strips) in zip(axes, charts.items(), strict=False):
        _draw_dots(axis, strips, keys, sites, width=_DOTS_IN / strip_in)
        axis.set_title(name, fontsize=9, loc="left")
    for axis in axes[len(charts) :]:
        axis.set_axis_off()
    if not charts:
        axes[0].text(0, 0.5, "no score or metric: no case has a truth", fontsize=9, color=INK)
    figure.tight_layout(rect=(0, 0, 1, 1 - top_in / height_in))
    for axis, strips in zip(axes, charts.values(), strict=False):
        for place, strip in enumerate(strips):
            _name_outliers(axis, place, strip, width=_DOTS_IN / strip_in)
    _write_heading(figure, keys, runs if sites else ())
    return figure


def _longest_name(charts: Mapping[str, Sequence[Strip]]) -> int:
    """Letters of the longest name that is written next to a strip."""
    names = [case for strips in charts.values() for strip in strips for case in strip.outliers[:_MOST_NAMED]]
    return min(_LONGEST_NAME, max(map(len, names), default=0))


def _draw_dots(
    axis: Axes, strips: Sequence[Strip], keys: Sequence[str], sites: Mapping[str, str] | None, width: float
) -> None:
    """Draws the strips at x = 0, 1, ...; the dots of each are in the first `width` of its unit."""
    for place, strip in enumerate(strips):
        if strip.values:
            colours = [label_colour(1 + (keys.index(sites[case]) if sites else place)) for case in strip.values]
            x, y = _places(strip, place, width), list(strip.values.values())
            axis.scatter(x, y, s=20, c=colours, edgecolors=INK, linewidths=0.4, alpha=0.9, zorder=2)
            axis.hlines(np.median(y), place, place + width, color=INK, linewidth=1.6, zorder=3)
    axis.set_xlim(-width / 4, len(strips))
    axis.set_xticks([place + width / 2 for place in range(len(strips))], [str(1 + at) for at in range(len(strips))])
    axis.margins(y=0.12)
    axis.grid(axis="y", color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _places(strip: Strip, place: int, width: float) -> np.ndarray:
    """Where each dot is across its strip: by its rank, not at random, so that equal pictures are equal bytes."""
    ranks = np.array(list(strip.values.values()), float).argsort(kind="stable").argsort(kind="stable")
    return np.asarray(place + width * (0.1 + 0.8 * ((0.5 + ranks * 0.618) % 1)))


def _name_outliers(axis: Axes, place: int, strip: Strip, width: float) -> None:
    """Writes the ids of outliers to the right of their strip, none over another, each with a line to its dot."""
    named = sorted(strip.outliers[:_MOST_NAMED], key=lambda case: (strip.values[case], case))
    if not named:
        return
    low, high = axis.get_ylim()
    across = dict(zip(strip.values, _places(strip, place, width), strict=True))
    more = len(strip.outliers) - len(named)
    wanted = [(strip.values[case] - low) / (high - low) for case in named]
    heights = _keep_apart([*wanted, *wanted[-1:]] if more else wanted, _name_height(axis))
    for case, height in zip(named, heights, strict=False):
        axis.annotate(
            _shorten(case),
            (across[case], strip.values[case]),
            (place + width * 1.1, low + height * (high - low)),
            fontsize=7,
            color=INK,
            va="center",
            gid=IDENTIFYING,
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.4, "relpos": (0, 0.5), "shrinkA": 0},
            zorder=4,
        )
    if more:
        at = low + heights[-1] * (high - low)
        axis.text(place + width * 1.1, at, f"and {more} more", fontsize=7, color=INK, va="center")


def _name_height(axis: Axes) -> float:
    """The height of a name as a share of the chart's."""
    return float(_NAME_HEIGHT_IN / (axis.get_position().height * axis.figure.bbox.height / axis.figure.dpi))


def _keep_apart(heights: Sequence[float], least: float) -> list[float]:
    """Moves rising heights in 0 to 1 as far apart as `least`: upwards, then down from the top.

    >>> [round(height, 2) for height in _keep_apart([0.1, 0.12, 0.95, 0.99], 0.1)]
    [0.1, 0.2, 0.9, 1.0]
    """
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, moved[-1] + least) if moved else height)
    for at in range(len(moved) - 1, -1, -1):
        moved[at] = min(moved[at], moved[at + 1] - least if at + 1 < len(moved) else 1.0)
    return moved


def _shorten(name: str) -> str:
    """A name of at most 32 letters; of a longer one the middle is left out."""
    if len(name) <= _LONGEST_NAME:
        return name
    half = (_LONGEST_NAME - 1) // 2
    return f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


def _write_heading(figure: Figure, keys: Sequence[str], runs: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    height_in = figure.get_figheight()
    title = "one dot per case; line: median of the run; named: outliers of the run"
    figure.text(0.01, 1 - _LINE_IN / 2 / height_in, title, fontsize=9, color=INK, va="center")
    for line, name in enumerate(runs, start=1):
        y = 1 - _LINE_IN * (line + 0.5) / height_in
        figure.text(0.01, y, f"{line}: {name}", fontsize=8, color=INK, va="center")
    marks = [
        Line2D([], [], marker="o", linestyle="", markersize=5, color=label_colour(1 + at), markeredgecolor=INK)
        for at in range(len(keys))
    ]
    names = keys if runs else [f"{at}: {name}" for at, name in enumerate(keys, start=1)]
    y = 1 - _LINE_IN * (len(runs) + 1.1) / height_in
    figure.legend(
        marks, names, loc="upper left", bbox_to_anchor=(0.0, y), ncols=_LEGEND_COLUMNS, fontsize=8, frameon=False
    )
