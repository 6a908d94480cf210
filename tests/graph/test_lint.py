"""Lint lists the nodes that a target rejects, and no others."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from helpers.graph.lint import lint
from helpers.params.targets import RefusedOp, Target, load_target


def resize_model(rank: int = 5, opset: int = 11, **attributes) -> onnx.ModelProto:
    spatial = rank - 2
    scales = numpy_helper.from_array(np.array([1, 1] + [2] * spatial, np.float32), "scales")
    roi = numpy_helper.from_array(np.zeros(0, np.float32), "roi")
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "first"),
        helper.make_node("Resize", ["r", "roi", "scales"], ["y"], "grow", **attributes),
    ]
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2] + [3] * spatial),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2] + [6] * spatial),
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [scales, roi])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def target_with(*rules: RefusedOp) -> Target:
    return Target(name="made", title="Test target", runtime="ascend", refuses=list(rules))


def test_a_5d_resize_is_reported_with_shape_reason_and_rewrite():
    (objection,) = lint(resize_model(), load_target("ascend310"))
    assert (objection.node, objection.op, objection.shape) == ("grow", "Resize", (None, 2, 3, 3, 3))
    assert objection.rewrite == "resize_5d_to_4d"
    assert "310" in objection.why


def test_a_4d_resize_is_accepted():
    assert lint(resize_model(rank=4), load_target("ascend310")) == []


ALLOWED = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}


@pytest.mark.parametrize(
    ("attributes", "refused"),
    [
        ({}, True),
        ({"mode": "nearest"}, True),
        (ALLOWED, False),
        ({**ALLOWED, "coordinate_transformation_mode": "pytorch_half_pixel"}, False),
        ({**ALLOWED, "coordinate_transformation_mode": "asymmetric"}, True),
        ({"mode": "linear"}, True),
        ({"coordinate_transformation_mode": "align_corners"}, True),
    ],
)
def test_an_exception_applies_only_if_all_of_its_attributes_match(attributes, refused):
    assert bool(lint(resize_model(**attributes), load_target("ascend310p3"))) is refused


@pytest.mark.parametrize(("opset", "refused"), [(8, True), (9, False), (13, False), (14, True)])
def test_opsets_outside_the_targets_range_are_reported(opset, refused):
    model = resize_model(rank=4)
    model.opset_import[0].version = opset
    assert any(objection.op == "opset" for objection in lint(model, load_target("ascend310"))) is refused


def test_a_rule_without_rank_applies_to_every_rank_and_the_first_rule_is_reported():
    rules = RefusedOp(op="Resize", why="first"), RefusedOp(op="Resize", rank=4, why="second")
    assert [item.why for item in lint(resize_model(rank=4), target_with(*rules))] == ["first"]


def test_objections_are_in_graph_order():
    rules = RefusedOp(op="Resize", why="a"), RefusedOp(op="Relu", why="b")
    assert [item.node for item in lint(resize_model(), target_with(*rules))] == ["first", "grow"]


def test_a_target_without_rules_accepts_everything():
    assert lint(resize_model(), load_target("cpu")) == []
