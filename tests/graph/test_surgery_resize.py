"""A rewritten 5-D nearest Resize picks exactly the same voxels; other nodes are left alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from helpers.graph.inspect import summarize_graph
from helpers.graph.read import run_reference
from helpers.graph.spec import GraphSpec
from helpers.graph.surgery import Resize5DTo4D, rewrite_and_prove

NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")


def resize_model(
    shape: tuple[int, ...],
    scales: tuple[float, ...],
    *,
    batch: int | None = None,
    by_sizes: bool = False,
    as_nodes: bool = False,
    opset: int = 11,
    constant: bool = True,
    **attributes: str,
) -> onnx.ModelProto:
    """x -> Relu -> Resize -> y for x of (batch, *shape); `scales` has one entry per axis of `shape`."""
    target = [int(side * scale) for side, scale in zip(shape, scales, strict=True)]
    tensors = [numpy_helper.from_array(np.zeros(0, np.float32), "roi")]
    if by_sizes:
        tensors.append(numpy_helper.from_array(np.zeros(0, np.float32), "scales"))
        tensors.append(numpy_helper.from_array(np.array([batch or 1, *target], np.int64), "sizes"))
    else:
        tensors.append(numpy_helper.from_array(np.array([1, *scales], np.float32), "scales"))
    names = [tensor.name for tensor in tensors]
    first = batch or "batch"
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [first, *shape])]
    nodes = []
    if not constant:
        inputs.append(helper.make_tensor_value_info("scales", TensorProto.FLOAT, [1 + len(shape)]))
        tensors = [tensor for tensor in tensors if tensor.name != "scales"]
    if as_nodes:
        nodes = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in tensors]
        tensors = []
    nodes.append(helper.make_node("Relu", ["x"], ["r"]))
    nodes.append(helper.make_node("Resize", ["r", *names], ["y"], "grow", **attributes))
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [first, *target])
    graph = helper.make_graph(nodes, "g", inputs, [output], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def spec_of(shape, batch=None) -> GraphSpec:
    return GraphSpec("x", "y", tuple(shape), dynamic_batch=batch is None, batch_size=batch or 1)


sides = st.integers(1, 5)
factors = st.sampled_from([1, 2, 3, 4])


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(sides, sides, sides, sides),
    scales=st.tuples(factors, factors, factors),
    batch=st.sampled_from([None, 1, 2]),
    by_sizes=st.booleans(),
    as_nodes=st.booleans(),
    opset=st.sampled_from([11, 13]),
    nearest=st.sampled_from(NEAREST),
    coordinates=st.sampled_from(COORDINATES),
)
def test_rewritten_resize_is_exactly_equal(shape, scales, batch, by_sizes, as_nodes, opset, nearest, coordinates):
    if by_sizes and batch is None:
        batch = 1  # sizes include the batch, so such a graph has a static one
    model = resize_model(
        shape,
        (1, *scales),
        batch=batch,
        by_sizes=by_sizes,
        as_nodes=as_nodes,
        opset=opset,
        mode="nearest",
        nearest_mode=nearest,
        coordinate_transformation_mode=coordinates,
    )
    rewritten, report = rewrite_and_prove(model, [Resize5DTo4D()], spec_of(shape, batch))
    resizes = [node for node in rewritten.graph.node if node.op_type == "Resize"]
    assert len(resizes) == 2
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in rewritten.graph.value_info}
    assert [ranks[node.input[0]] for node in resizes] == [4, 4]
    assert len(report.rows) == 1
    x = np.random.default_rng(9).standard_normal((batch or 4, *shape), dtype=np.float32)
    before, after = run_reference(model, {"x": x})["y"], run_reference(rewritten, {"x": x})["y"]
    assert np.array_equal(before, after)
    if nearest == "round_prefer_floor" and coordinates == "half_pixel":
        repeated = np.maximum(x, 0)
        for axis, factor in zip((2, 3, 4), scales, strict=True):
            repeated = repeated.repeat(factor, axis)
        assert np.array_equal(after, repeated)


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_a_dynamic_batch_stays_dynamic(batch):
    model, _ = rewrite_and_prove(resize_model((2, 3, 4, 5), (1, 2, 2, 2)), [Resize5DTo4D()], spec_of((2, 3, 4, 5)))
    x = np.ones((batch, 2, 3, 4, 5), np.float32)
    assert run_reference(model, {"x": x})["y"].shape == (batch, 2, 6, 8, 10)


def test_the_report_lists_the_changes():
    _, report = rewrite_and_prove(resize_model((2, 3, 4, 5), (1, 2, 3, 1)), [Resize5DTo4D()], spec_of((2, 3, 4, 5)))
    assert report.rows == (("resize_5d_to_4d", "grow", "(2, 3, 4, 5) × (2, 3, 1)"),)
    assert report.op_changes() == [("Reshape", 0, 3), ("Resize", 1, 2)]
    assert (report.batches, report.largest_change) == ((1, 2), 0.0)


@pytest.mark.parametrize(
    "model",
    [
        resize_model((2, 4, 4, 4), (1, 2, 2, 2), mode="linear"),
        resize_model((2, 4, 4, 4), (1, 1.5, 2, 2)),
        resize_model((2, 4, 4, 4), (1, 0.5, 1, 1)),
        resize_model((2, 4, 4, 4), (2, 2, 2, 2)),
        resize_model((2, 4, 4, 4), (1, 1.5, 1, 1), batch=1, by_sizes=True),
        resize_model((2, 4, 4), (1, 2, 2)),
        resize_model((4, 4), (1, 2)),
    ],
    ids=["linear", "fraction", "shrink", "channels", "fraction by sizes", "4-D", "3-D"],
)
def test_other_nodes_are_left_alone(model):
    shape = tuple(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)
    spec = spec_of(shape[1:], shape[0] or None)
    result, report = rewrite_and_prove(model, [Resize5DTo4D()], spec)
    assert report.rows == ()
    assert list(result.graph.node) == list(model.graph.node)


def test_a_resize_with_scales_fed_at_run_time_is_left_alone():
    model = resize_model((2, 4, 4, 4), (1, 2, 2, 2), constant=False)
    assert rewrite_and_prove(model, [Resize5DTo4D()], spec_of((2, 4, 4, 4)))[1].rows == ()


def test_a_resize_with_a_dynamic_side_is_left_alone():
    model = resize_model((2, 4, 4, 4), (1, 2, 2, 2))
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[3].dim_param = "height"
    assert rewrite_and_prove(model, [Resize5DTo4D()], spec_of((2, 4, 4, 4)))[1].rows == ()


def test_two_resizes_in_a_row_are_both_rewritten():
    model = resize_model((2, 2, 3, 4), (1, 2, 2, 2))
    again = helper.make_node("Resize", ["y", "roi", "scales"], ["z"], "again")
    model.graph.node.append(again)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 2, 8, 12, 16]))
    result, report = rewrite_and_prove(model, [Resize5DTo4D()], spec_of((2, 2, 3, 4)))
    assert [row[1] for row in report.rows] == ["grow", "again"]
    x = np.random.default_rng(1).standard_normal((1, 2, 2, 3, 4), dtype=np.float32)
    assert np.array_equal(run_reference(result, {"x": x})["z"], run_reference(model, {"x": x})["z"])


def test_surgery_does_not_modify_its_input():
    model = resize_model((2, 3, 4, 5), (1, 2, 2, 2))
    before = model.SerializeToString()
    result, _ = rewrite_and_prove(model, [Resize5DTo4D()], spec_of((2, 3, 4, 5)))
    assert model.SerializeToString() == before
    assert summarize_graph(result).parameters == summarize_graph(model).parameters == 0
