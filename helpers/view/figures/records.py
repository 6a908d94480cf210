"""Draws the throughput of all records as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from helpers.view.figures.canvas import new_figure
from helpers.view.palette import ACCENT

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_records(bars: Sequence[tuple[str, float]]) -> Figure:
    """Draws one bar per record on a logarithmic axis, since networks differ by orders of magnitude.

    Args:
        bars: (name, samples per second), from top to bottom.
    """
    figure = new_figure(7.5, 0.9 + 0.32 * max(len(bars), 1))
    axis = figure.subplots()
    axis.barh(range(len(bars)), [value for _, value in bars], color=ACCENT, height=0.65)
    for place, (_, value) in enumerate(bars):
        axis.text(value, place, f" {value:.2f}", va="center", fontsize=8)
    axis.set_yticks(range(len(bars)), [name for name, _ in bars], fontsize=8)
    axis.invert_yaxis()
    if bars:
        axis.set_xscale("log")
    axis.margins(x=0.15)
    axis.set_xlabel("samples per second", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    return figure
