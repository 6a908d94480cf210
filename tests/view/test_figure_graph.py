"""The static picture of a graph: depth to the right, resolution downwards, refused nodes in red rings."""

from __future__ import annotations

import numpy as np
import onnx
from matplotlib.text import Text
from onnx import TensorProto, helper
from PIL import Image

from helpers.view.figures import draw_graph, save_figure


def graph_model() -> onnx.ModelProto:
    shapes = {"x": [1, 2, 8, 8], "a": [1, 2, 8, 8], "b": [1, 2, 4, 4], "c": [1, 2, 8, 8], "y": [1, 4, 8, 8]}
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, 2, 2])
    roi = helper.make_tensor("roi", TensorProto.FLOAT, [0], [])
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "first"),
        helper.make_node("MaxPool", ["a"], ["b"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["b", "roi", "scales"], ["c"], "grow"),
        helper.make_node("Concat", ["a", "c"], ["y"], "join", axis=1),
    ]
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    graph = helper.make_graph(nodes, "g", [values["x"]], [values["y"]], [scales, roi])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)


def test_a_graph_is_drawn_with_its_ops_counted_and_refused_nodes_ringed(tmp_path):
    figure = draw_graph(graph_model(), "a small U", refused=["grow"])
    shown = {text.get_text() for text in figure.findobj(Text)}
    assert {"Relu 1", "MaxPool 1", "Resize 1", "Concat 1", "refused"} <= shown
    path = save_figure(figure, tmp_path / "graph.png")
    assert path.stat().st_size <= 300_000
    assert 900 <= Image.open(path).size[0] <= 1400
    places = [tuple(dots.get_offsets()[0]) for dots in figure.axes[0].collections]
    assert places == [(0, 0), (1, -1), (2, 0), (3, 0)]  # depth to the right, one row down at half the size
    rings = [tuple(np.round(dots.get_edgecolor()[0][:3], 2)) for dots in figure.axes[0].collections]
    assert rings == [(1, 1, 1), (1, 1, 1), (0.8, 0, 0), (1, 1, 1)]
