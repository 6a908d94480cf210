"""A static picture of an ONNX graph: depth to the right, resolution downwards, so that a U-Net looks like a U."""

from __future__ import annotations

import math
from collections.abc import Collection

import onnx

from helpers.graph.read import tensor_shapes
from helpers.view.figures.save import new_figure
from helpers.view.palette import OP_COLOURS, OTHER_OP

_REFUSED = "#CC0000"
_BORING = {"Constant"}


def draw_graph(model: onnx.ModelProto, title: str, refused: Collection[str] = ()):
    """A figure of every node; nodes named in `refused` (a target's lint) have a red ring.

    A node's column is its distance from the input, its row the size of its output: each halving is one row down.
    """
    nodes = [node for node in model.graph.node if node.op_type not in _BORING]
    shapes = tensor_shapes(model)
    producer = {name: index for index, node in enumerate(nodes) for name in node.output}
    column: list[int] = []
    for node in nodes:
        sources = [column[producer[name]] for name in node.input if name in producer]
        column.append(1 + max(sources, default=-1))
    row = _rows(nodes, producer, shapes)
    figure = new_figure(11, 3.9)
    axis = figure.subplots()
    _draw_edges(axis, nodes, producer, column, row)
    for index, node in enumerate(nodes):
        ring = _REFUSED if (node.name or node.output[0]) in refused else "white"
        colour = OP_COLOURS.get(node.op_type, OTHER_OP)
        axis.scatter(column[index], row[index], s=46, color=colour, edgecolors=ring, linewidths=1.2, zorder=3)
    _label_rows(axis, nodes, shapes, row)
    _legend(axis, nodes, refused)
    axis.set_title(title, fontsize=10, loc="left")
    axis.set_xlabel("steps from the input", fontsize=9)
    axis.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _rows(nodes, producer, shapes) -> list[float]:
    """Minus the number of halvings of the longest side, per node; unknown sizes take their source's row."""
    largest = max((_side(shapes.get(name)) or 1 for node in nodes for name in node.output), default=1)
    rows: list[float] = []
    for node in nodes:
        side = _side(shapes.get(node.output[0]))
        sources = [rows[producer[name]] for name in node.input if name in producer]
        if node.op_type == "Reshape" or not side:
            rows.append(sources[0] if sources else 0.0)
        else:
            rows.append(-math.log2(largest / side))
    return rows


def _side(shape) -> int | None:
    # The last axis: a 4-D view of a 5-D tensor keeps it until its rows are merged.
    if shape is None or len(shape) < 4 or not shape[-1]:
        return None
    return shape[-1] if len(shape) == 5 or shape[-1] == shape[-2] else None


def _draw_edges(axis, nodes, producer, column, row) -> None:
    for index, node in enumerate(nodes):
        for name in node.input:
            if name not in producer:
                continue
            source = producer[name]
            far = column[index] - column[source] > 3
            style = {"color": "#D55E00" if far else "#BBBBBB", "linewidth": 1.1 if far else 0.9, "zorder": 1}
            arc = f"arc3,rad={-0.12 if far and row[index] == row[source] else 0}"
            start, end = (column[source], row[source]), (column[index], row[index])
            arrow = {"arrowstyle": "-", "connectionstyle": arc, **style}
            axis.annotate("", xy=end, xytext=start, arrowprops=arrow)


def _label_rows(axis, nodes, shapes, row) -> None:
    sizes = {}
    for index, node in enumerate(nodes):
        shape = shapes.get(node.output[0])
        if node.op_type == "Conv" and shape and None not in shape[2:]:
            sizes[row[index]] = "×".join(str(size) for size in shape[2:])
    axis.set_yticks(list(sizes), list(sizes.values()), fontsize=8)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(min(row) - 0.5, max(row) + 0.75)


def _legend(axis, nodes, refused) -> None:
    from matplotlib.lines import Line2D

    counts: dict[str, int] = {}
    for node in nodes:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    dot = {"marker": "o", "linestyle": "", "markersize": 7}
    handles = [
        Line2D([], [], color=OP_COLOURS.get(op, OTHER_OP), label=f"{op} {count}", **dot)
        for op, count in sorted(counts.items(), key=lambda item: -item[1])
    ]
    if refused:
        handles.append(Line2D([], [], color="white", markeredgecolor=_REFUSED, label="refused", **dot))
    axis.legend(handles=handles, fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
