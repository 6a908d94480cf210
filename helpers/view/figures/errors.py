"""How far each form of a model is from the truth, against what is allowed."""

from __future__ import annotations

from collections.abc import Mapping

from helpers.view.figures.save import new_figure
from helpers.view.palette import INK, REFUSED, label_colour

_KINDS = (("largest", "D", "largest"), ("p999", "s", "99.9 % are below"), ("mean", "o", "mean"))
_SMALLEST = 1e-9  # what is drawn for an error of exactly zero


def draw_errors(rows: Mapping[str, Mapping[str, float]], limits: Mapping[str, float]):
    """Errors as fractions of the output's range on a logarithmic scale, one row a form, the limit as a red line.

    Args:
        rows: form of the model to its `largest`, `p999` and `mean` error.
        limits: form to the error from which on the run fails.
    """
    figure = new_figure(7.2, 0.5 * len(rows) + 1.3)
    axis = figure.subplots()
    for place, (name, row) in enumerate(rows.items()):
        for index, (kind, marker, label) in enumerate(_KINDS):
            style = {"color": label_colour((1, 2, 4)[index]), "markeredgecolor": INK, "markeredgewidth": 0.4}
            shown = max(row[kind], _SMALLEST)
            axis.plot([shown], [place], marker, markersize=8, label=None if place else label, **style)
        axis.text(max(row["largest"], _SMALLEST) * 1.6, place, f"{row['largest']:.1e}", va="center", fontsize=8)
        style = {"color": REFUSED, "linewidth": 1.6}
        axis.vlines(limits[name], place - 0.35, place + 0.35, label=None if place else "limit", **style)
    axis.set_xscale("log")
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.tick_params(labelsize=8)
    axis.grid(axis="x", color="#E4E4E4", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlabel("error against torch, as a fraction of the output's range", fontsize=9)
    axis.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    return figure
