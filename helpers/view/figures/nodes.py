"""Error of every node along a graph."""

from __future__ import annotations

from collections.abc import Sequence

from helpers.view.figures.save import new_figure

_FLOOR, _CEILING = 1e-9, 10.0


def draw_node_errors(title: str, rows: Sequence, tolerance: float, culprit: object | None):
    """Error as a fraction of the range by place in the graph, on a logarithmic axis; the culprit is ringed and named.

    Args:
        title: of the recipe.
        rows: with `error`, `node` and `op`, in the graph's order; what is not finite is drawn at the top.
        tolerance: drawn as a line.
        culprit: one of the rows, or None.
    """
    figure = new_figure(9, 3.2)
    axis = figure.subplots()
    errors = [min(max(row.error, _FLOOR), _CEILING) for row in rows]
    axis.plot(range(len(rows)), errors, "-", color="#999999", linewidth=0.8, zorder=1)
    layers = [index for index, row in enumerate(rows) if row.op in ("Conv", "ConvTranspose")]
    axis.plot(layers, [errors[index] for index in layers], ".", color="#0072B2", label="convolutions", markersize=5)
    axis.axhline(tolerance, color="#D55E00", linewidth=1, linestyle="--", label=f"tolerance {tolerance:g}")
    if culprit is not None:
        place = next(index for index, row in enumerate(rows) if row is culprit)
        axis.plot(place, errors[place], "o", color="#b2182b", fillstyle="none", markersize=12, markeredgewidth=2)
        axis.annotate(f"{culprit.op} {culprit.node}", (place, errors[place]), xytext=(8, 8), fontsize=8,
                      textcoords="offset points", color="#b2182b", ha="left" if place < len(rows) / 2 else "right")
    axis.set_yscale("log")
    axis.set_xlabel("node, from input to output", fontsize=9)
    axis.set_ylabel("largest error, of range", fontsize=9)
    axis.set_title(title, fontsize=10, loc="left")
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    return figure
