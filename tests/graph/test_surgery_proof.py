"""The proof rejects a rewrite that changes the outputs; the error for an unknown rewrite suggests the nearest one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from helpers.errors import GraphError, ParameterError
from helpers.graph.spec import GraphSpec
from helpers.graph.surgery import Rewrite, base, rewrite_and_prove, rewrite_named, rewrite_names
from helpers.graph.surgery.base import Replacement


def add_a_little(x: str, y: str) -> Replacement:
    little = numpy_helper.from_array(np.array(1e-6, np.float32), "little")
    nodes = [helper.make_node("Relu", [x], ["relu_raw"]), helper.make_node("Add", ["relu_raw", "little"], [y])]
    return Replacement(nodes, [little], "adds a little")


def transpose(x: str, y: str) -> Replacement:
    return Replacement([helper.make_node("Transpose", [x], [y], perm=[0, 2, 1])], [], "transposes")


def fail_to_run(x: str, y: str) -> Replacement:
    shape = numpy_helper.from_array(np.array([0, 0, 7], np.int64), "seven")
    return Replacement([helper.make_node("Reshape", [x, "seven"], [y])], [shape], "")


def make_nan(x: str, y: str) -> Replacement:
    return Replacement([helper.make_node("Log", [x], [y])], [], "log of negatives")


def register_for_relu(known_as: str, reason: str, substitute: Callable[[str, str], Replacement]) -> None:
    """Registers a rewrite that replaces every Relu with the result of `substitute(input, output)`."""

    class InPlaceOfRelu(Rewrite):
        name = known_as
        why = reason

        def replace(self, node, view):
            return substitute(node.input[0], node.output[0]) if node.op_type == "Relu" else None


@pytest.fixture
def bad_rewrites():
    """Registers deliberately incorrect rewrites for one test."""
    known = dict(base._REGISTRY)
    register_for_relu("test_adds_a_little", "off by one in a million", add_a_little)
    register_for_relu("test_transposes", "wrong shape", transpose)
    register_for_relu("test_fails", "does not run", fail_to_run)
    register_for_relu("test_makes_nan", "NaN equals nothing", make_nan)
    yield
    base._REGISTRY.clear()
    base._REGISTRY.update(known)


def relu_model(output_shape) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)


@pytest.mark.parametrize("name", ["test_adds_a_little", "test_transposes", "test_fails", "test_makes_nan"])
def test_an_incorrect_rewrite_is_rejected(bad_rewrites, name):
    model = relu_model(["batch", "a", "b"])  # dynamic axes, so that shape inference alone does not find the error
    with pytest.raises(GraphError):
        rewrite_and_prove(model, [rewrite_named(name)], GraphSpec("x", "y", (4, 5)))


def test_the_error_states_the_change(bad_rewrites):
    with pytest.raises(GraphError, match=r"computes different outputs: received a difference of [\d.]+e-0[67]"):
        rewrite_and_prove(
            relu_model(["batch", 4, 5]), [rewrite_named("test_adds_a_little")], GraphSpec("x", "y", (4, 5))
        )


def test_the_tolerance_of_a_rewrite_that_matches_nothing_does_not_count(bad_rewrites):
    class Lenient(Rewrite):
        name = "test_lenient"
        why = "allows a lot, and matches nothing here"
        tolerance = 1.0

        def replace(self, node, view):
            return None

    with pytest.raises(GraphError, match="computes different outputs"):
        rewrite_and_prove(
            relu_model(["batch", 4, 5]), [rewrite_named("test_adds_a_little"), Lenient()], GraphSpec("x", "y", (4, 5))
        )


def test_the_error_for_an_unknown_rewrite_suggests_the_nearest():
    assert "resize_5d_to_4d" in rewrite_names()
    with pytest.raises(ParameterError, match="resize_5d_to_4d"):
        rewrite_named("resize_5d_to_4")
