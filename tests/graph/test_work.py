"""The work of every node: multiply-accumulates, values moved by fused nodes, and the level of each node."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from helpers.graph.work import GraphWork


@pytest.fixture
def work() -> GraphWork:
    """A convolution of stride 2 with a bias and a ReLU, a mean over both axes, and the difference of the two."""
    weight = numpy_helper.from_array(np.ones((4, 3, 2, 2), np.float32), "weight")
    bias = numpy_helper.from_array(np.ones(4, np.float32), "bias")
    nodes = [
        helper.make_node("Conv", ["image", "weight", "bias"], ["wide"], "conv", strides=[2, 2]),
        helper.make_node("Relu", ["wide"], ["positive"], "relu"),
        helper.make_node("ReduceMean", ["positive"], ["row"], "mean_3", axes=[3], keepdims=1),
        helper.make_node("ReduceMean", ["row"], ["mean"], "mean_2", axes=[2], keepdims=1),
        helper.make_node("Sub", ["positive", "mean"], ["scores"], "centre"),
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", ["batch", 3, 8, 8]), ("scores", ["batch", 4, 4, 4]))
    ]
    graph = helper.make_graph(nodes, "graph", ports[:1], ports[1:], [weight, bias])
    return GraphWork(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)]))


def test_macs_and_levels(work):
    assert work.nodes["conv"].macs == 4 * 4 * 4 * 3 * 2 * 2
    assert {node.macs for name, node in work.nodes.items() if name != "conv"} == {0}
    assert {node.level for node in work.nodes.values()} == {(4, 4)}  # a mean stays on the level that it reads


def test_a_fused_node_moves_what_is_outside_of_it(work):
    image, weight, activation = 3 * 8 * 8, 4 * 3 * 2 * 2 + 4, 4 * 4 * 4
    assert work.values_moved(["conv"]) == image + weight + activation
    assert work.values_moved(["conv", "relu"]) == image + weight + activation  # what is between costs nothing
    assert work.values_moved(["conv", "relu"], batch=2) == 2 * image + weight + 2 * activation
    assert work.values_moved(["mean_3", "mean_2", "centre"]) == activation + activation


def test_the_nodes_between_two_tensors(work):
    assert work.covered(["positive"], {"image"}) == ("conv", "relu")
    assert work.covered(["scores"], {"positive"}) == ("mean_3", "mean_2", "centre")
    assert work.covered(["unknown"], set()) == ()
