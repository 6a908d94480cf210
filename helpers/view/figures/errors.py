"""How far each form of a model is from the truth, against what is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
        axis.annotate(
            f"{culprit.op} {culprit.node}",
            (place, errors[place]),
            xytext=(8, 8),
            fontsize=8,
            textcoords="offset points",
            color="#b2182b",
            ha="left" if place < len(rows) / 2 else "right",
        )
    axis.set_yscale("log")
    axis.set_xlabel("node, from input to output", fontsize=9)
    axis.set_ylabel("largest error, of range", fontsize=9)
    axis.set_title(title, fontsize=10, loc="left")
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    return figure
