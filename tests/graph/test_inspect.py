"""The counts of a graph equal counts by hand."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from helpers.graph.export import export_network
from helpers.graph.inspect import summarize_graph
from helpers.graph.spec import GraphSpec


def node_model(op, weight, source, target, **attributes) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "w"], ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, source)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, target)],
        [numpy_helper.from_array(np.zeros(weight, np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)


@pytest.mark.parametrize(
    ("model", "macs"),
    [
        # Every output voxel of a group reads in/groups channels under the kernel.
        (node_model("Conv", (6, 4, 3, 3), ("n", 4, 8, 10), ("n", 6, 6, 8)), 6 * 6 * 8 * 4 * 9),
        (node_model("Conv", (6, 2, 3, 3), ("n", 4, 8, 10), ("n", 6, 6, 8), group=2), 6 * 6 * 8 * 2 * 9),
        (node_model("Conv", (4, 1, 5), ("n", 4, 9), ("n", 4, 5), group=4), 4 * 5 * 5),
        (
            node_model("Conv", (8, 3, 2, 2, 2), (5, 3, 4, 6, 8), (5, 8, 2, 3, 4), strides=[2, 2, 2]),
            8 * (2 * 3 * 4) * 3 * 8,
        ),
        # Every input voxel of a transposed convolution is spread over out/groups channels under the kernel.
        (
            node_model("ConvTranspose", (4, 6, 2, 2), ("n", 4, 5, 7), ("n", 6, 10, 14), strides=[2, 2]),
            4 * 5 * 7 * 6 * 4,
        ),
        (
            node_model("ConvTranspose", (4, 3, 3, 3), ("n", 4, 5, 7), ("n", 6, 7, 9), group=2),
            4 * 5 * 7 * 3 * 9,
        ),
        (node_model("MatMul", (16, 5), ("n", 7, 16), ("n", 7, 5)), 7 * 16 * 5),
    ],
    ids=["conv", "grouped", "depthwise", "strided 3-D", "transposed", "grouped transposed", "product"],
)
def test_macs_equal_a_count_by_hand(model, macs):
    summary = summarize_graph(model)
    assert (summary.macs, summary.uncounted) == (macs, ())
    assert summary.parameters == math.prod(model.graph.initializer[0].dims)
    assert summary.parameter_bytes == 4 * summary.parameters


def test_a_node_of_unknown_size_is_listed_and_not_counted():
    model = node_model("Conv", (6, 4, 3, 3), ("n", 4, "h", "w"), ("n", 6, "h2", "w2"))
    summary = summarize_graph(model)
    assert (summary.macs, summary.uncounted) == (0, ("y",))


def test_the_official_3d_unet_has_its_published_size(tmp_path):
    from helpers.networks.unet3d import UNet3D

    # 7,343,702,016 at 64^3, 1,782,176 parameters, 30 convolutions and 6 resizes: black0017/MedicalZooPytorch at
    # 8f40dab, counted on the upstream module.
    model = export_network(UNet3D(), GraphSpec("image", "class", (4, 64, 64, 64)), tmp_path / "net.onnx")
    summary = summarize_graph(model)
    assert (summary.opset, summary.macs, summary.parameters) == (11, 7_343_702_016, 1_782_176)
    assert (summary.ops["Conv"], summary.ops["Resize"]) == (30, 6)
    assert next(iter(summary.ops)) == "Conv"
    assert summary.uncounted == ()


def test_the_count_is_for_a_batch_of_one(tmp_path):
    spec = GraphSpec("x", "y", (2, 8, 8), dynamic_batch=False, batch_size=4)
    model = export_network(torch.nn.Conv2d(2, 3, 3, bias=False), spec, tmp_path / "net.onnx")
    assert summarize_graph(model).macs == 3 * 6 * 6 * 2 * 9
