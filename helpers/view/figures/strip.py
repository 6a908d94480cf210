"""Every case's score as a dot, with the mean and its bootstrap interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from helpers.scoring.bootstrap import mean_interval
from helpers.view.figures.save import new_figure
from helpers.view.palette import ACCENT, INK, label_colour

_SPREAD = 0.16


def draw_scores(scores: Mapping[str, Mapping[str, float | None]], limits: Mapping[str, float] | None = None):
    """A strip of dots for each score; the black bar is the mean's 95 % bootstrap interval over cases.

    Args:
        scores: case to score name to value; None (nothing to find) is left out and counted under the axis.
        limits: least means that were judged, drawn as a dashed line.
    """
    names = list(dict.fromkeys(name for values in scores.values() for name in values))
    figure = new_figure(max(4.6, 1.6 + 1.15 * len(names)), 3.4)
    axis = figure.subplots()
    for place, name in enumerate(names):
        values = np.array([row[name] for row in scores.values() if row.get(name) is not None], float)
        if values.size:
            _draw_strip(axis, place, values, label_colour(place + 1))
        if limits and name in limits:
            axis.hlines(limits[name], place - 0.4, place + 0.4, color=ACCENT, linestyle="--", linewidth=1.2)
    counts = [sum(row.get(name) is not None for row in scores.values()) for name in names]
    axis.set_xticks(range(len(names)), [f"{name}\nn = {n}" for name, n in zip(names, counts, strict=True)])
    axis.set_xlim(-0.6, max(0, len(names) - 1) + 0.6)
    low = min((value for row in scores.values() for value in row.values() if value is not None), default=0.0)
    axis.set_ylim(0 if low < 0.5 else np.floor(low * 10) / 10 - 0.05, 1.02)
    axis.tick_params(labelsize=8)
    axis.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title("score of each case; bar: mean and its 95 % bootstrap interval", fontsize=9, loc="left")
    if limits:
        axis.plot([], [], color=ACCENT, linestyle="--", linewidth=1.2, label="least mean asked for")
        axis.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def draw_differences(values: Mapping[str, Sequence[float]]):
    """A strip of dots for each paired difference, zero as a line.

    Args:
        values: name of the strip to differences, one a case.
    """
    figure = new_figure(max(4.6, 1.6 + 1.6 * len(values)), 3.6)
    axis = figure.subplots()
    for place, differences in enumerate(values.values()):
        _draw_strip(axis, place, np.array(differences, float), label_colour(place + 1), "+.4f")
    axis.axhline(0, color=ACCENT, linestyle="--", linewidth=1.2)
    axis.set_xticks(range(len(values)), list(values))
    axis.set_xlim(-0.6, max(0, len(values) - 1) + 0.6)
    axis.tick_params(labelsize=8)
    axis.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    title = "difference to the first run, a dot a case; bar: mean and its 95 % bootstrap interval"
    axis.set_title(title, fontsize=9, loc="left")
    return figure


def _draw_strip(axis, place: int, values: np.ndarray, colour: str, form: str = ".3f") -> None:
    # Equal pictures are equal bytes: dots are spread by their rank, not by chance.
    order = values.argsort(kind="stable").argsort(kind="stable")
    side = ((order * 0.618) % 1 - 0.5) * 2 * _SPREAD if values.size > 1 else np.zeros(1)
    axis.scatter(place - 0.1 + side, values, s=26, color=colour, edgecolors=INK, linewidths=0.4, alpha=0.9, zorder=2)
    mean, low, high = mean_interval(values)
    right = place + 0.24
    axis.vlines(right, low, high, color=INK, linewidth=2, zorder=3)
    axis.plot([right], [mean], marker="D", markersize=5, color=INK, zorder=4)
    axis.annotate(f"{mean:{form}}", (right, mean), (6, 0), textcoords="offset points", fontsize=8, va="center")
