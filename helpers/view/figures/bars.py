"""Seconds of each step as bars."""

from __future__ import annotations

from collections.abc import Mapping

from helpers.view.figures.save import new_figure


def draw_stage_times(seconds: Mapping[str, float]):
    """Horizontal bars, one a step, in the order given, with the figure beside each."""
    figure = new_figure(7.2, 0.28 * len(seconds) + 0.8)
    axis = figure.subplots()
    names, values = list(seconds), list(seconds.values())
    axis.barh(names, values, color="#0072B2", height=0.65)
    axis.invert_yaxis()
    for index, value in enumerate(values):
        axis.text(value, index, f" {value:.1f} s", va="center", fontsize=8)
    axis.set_xlabel("seconds in this run (a reused step costs its check only)", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.12)
    return figure
