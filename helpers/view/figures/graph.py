"""Draws an ONNX graph: depth to the right, resolution downwards, so that a U-Net looks like a U."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import onnx

from helpers.graph.read import tensor_shapes
from helpers.view.figures.canvas import new_figure
from helpers.view.palette import OP_COLOURS, OTHER_OP, SECONDARY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Shape = Sequence[int | None]
_REFUSED = "#CC0000"
_HIDDEN_OPS = {"Constant"}
_LONG_EDGE = 3  # an edge that spans more nodes is a skip connection


def draw_graph(model: onnx.ModelProto, title: str, refused: Collection[str] = ()) -> Figure:
    """Draws every node of a graph as a dot.

    A node's column is its distance from the input, its row the size of its output: each halving is one row down.

    Args:
        model: with the shapes of its tensors.
        title: above the picture.
        refused: names of nodes that a target's lint refuses; they get a red ring.
    """
    nodes = [node for node in model.graph.node if node.op_type not in _HIDDEN_OPS]
    shapes = tensor_shapes(model)
    producers = {name: index for index, node in enumerate(nodes) for name in node.output}
    columns: list[int] = []
    for node in nodes:
        sources = [columns[producers[name]] for name in node.input if name in producers]
        columns.append(1 + max(sources, default=-1))
    rows = _rows(nodes, producers, shapes)
    figure = new_figure(11, 3.9)
    axis = figure.subplots()
    _draw_edges(axis, nodes, producers, columns, rows)
    for index, node in enumerate(nodes):
        ring = _REFUSED if (node.name or node.output[0]) in refused else "white"
        colour = OP_COLOURS.get(node.op_type, OTHER_OP)
        axis.scatter(columns[index], rows[index], s=46, color=colour, edgecolors=ring, linewidths=1.2, zorder=3)
    _label_rows(axis, nodes, shapes, rows)
    _add_legend(axis, nodes, refused)
    axis.set_title(title, fontsize=10, loc="left")
    axis.set_xlabel("depth: nodes from the input", fontsize=9)
    axis.tick_params(axis="x", labelsize=8)
    axis.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _rows(nodes: Sequence[onnx.NodeProto], producers: Mapping[str, int], shapes: Mapping[str, Shape]) -> list[float]:
    """Minus the number of halvings of the longest side, per node; a node of unknown size takes its source's row."""
    largest = max((_side(shapes.get(name)) or 1 for node in nodes for name in node.output), default=1)
    rows: list[float] = []
    for node in nodes:
        side = _side(shapes.get(node.output[0]))
        sources = [rows[producers[name]] for name in node.input if name in producers]
        if node.op_type == "Reshape" or not side:
            rows.append(sources[0] if sources else 0.0)
        else:
            rows.append(-math.log2(largest / side))
    return rows


def _side(shape: Shape | None) -> int | None:
    # The last axis: a 4-D view of a 5-D tensor keeps it until its rows are merged.
    if shape is None or len(shape) < 4 or not shape[-1]:
        return None
    return shape[-1] if len(shape) == 5 or shape[-1] == shape[-2] else None


def _draw_edges(
    axis: Axes,
    nodes: Sequence[onnx.NodeProto],
    producers: Mapping[str, int],
    columns: Sequence[int],
    rows: Sequence[float],
) -> None:
    for index, node in enumerate(nodes):
        for source in (producers[name] for name in node.input if name in producers):
            long = columns[index] - columns[source] > _LONG_EDGE
            curve = -0.12 if long and rows[index] == rows[source] else 0
            arrow = {
                "arrowstyle": "-",
                "connectionstyle": f"arc3,rad={curve}",
                "color": SECONDARY if long else "#BBBBBB",
                "linewidth": 1.1 if long else 0.9,
                "zorder": 1,
            }
            start, end = (columns[source], rows[source]), (columns[index], rows[index])
            axis.annotate("", xy=end, xytext=start, arrowprops=arrow)


def _label_rows(
    axis: Axes, nodes: Sequence[onnx.NodeProto], shapes: Mapping[str, Shape], rows: Sequence[float]
) -> None:
    sizes = {}
    for index, node in enumerate(nodes):
        shape = shapes.get(node.output[0])
        if node.op_type == "Conv" and shape and None not in shape[2:]:
            sizes[rows[index]] = "×".join(str(size) for size in shape[2:])
    axis.set_yticks(list(sizes), list(sizes.values()), fontsize=8)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(min(rows) - 0.5, max(rows) + 0.75)


def _add_legend(axis: Axes, nodes: Sequence[onnx.NodeProto], refused: Collection[str]) -> None:
    from matplotlib.lines import Line2D

    def dot(label: str, colour: str, edge: str | None = None) -> Line2D:
        edge = edge or colour
        return Line2D([], [], color=colour, markeredgecolor=edge, marker="o", linestyle="", markersize=7, label=label)

    counts = Counter(node.op_type for node in nodes)
    handles = [dot(f"{op} {count}", OP_COLOURS.get(op, OTHER_OP)) for op, count in counts.most_common()]
    if refused:
        handles.append(dot("refused", "white", _REFUSED))
    axis.legend(handles=handles, fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
