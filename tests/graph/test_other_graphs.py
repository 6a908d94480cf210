"""Reading, counting, lint, simplification, surgery and float16 weights hold on graphs of other exporters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from helpers.compile.onnxruntime import store_weights_in_f16
from helpers.compile.openvino import compile_openvino
from helpers.devices import open_device
from helpers.errors import GraphError
from helpers.graph.inspect import summarize_graph
from helpers.graph.lint import lint
from helpers.graph.read import input_shape_of, load_graph, relative_error, run_reference, tensor_shapes
from helpers.graph.simplify import run_onnxsim
from helpers.graph.surgery import rewrite_graph, rewrite_named
from helpers.params.targets import load_target
from tests.graph.other_graphs import branches, constant, model_of, upsampling, value

IMAGE = np.random.default_rng(0).standard_normal((1, 2, 2, 3, 4)).astype(np.float32)
REWRITES = ("resize_5d_to_4d", "axiswise_instance_norm", "drop_empty_pad")


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    return path


def rewritten(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list]:
    return rewrite_graph(model, [rewrite_named(name) for name in REWRITES])


def assert_same(before: onnx.ModelProto, after: onnx.ModelProto, feeds: dict, limit: float = 1e-6) -> None:
    old, new = run_reference(before, feeds), run_reference(after, feeds)
    assert all(relative_error(old[name], new[name]) <= limit for name in old)


def objections(model: onnx.ModelProto) -> list[tuple[str, str | None]]:
    return [(objection.op, objection.rewrite) for objection in lint(model, load_target("ascend310"))]


@pytest.mark.parametrize("form", ["Upsample 7", "Upsample 9", "Resize 10", "Resize 11"])
def test_every_form_of_a_5d_resize_is_objected_to_and_rewritten(form, tmp_path):
    node, constants, opset = upsampling(form)
    model = model_of([node], [value("x", ["n", 2, 2, 3, 4])], [value("y", ["n", 2, 4, 9, 8])], constants, opset)
    model = load_graph(saved(model, tmp_path))
    assert ("opset" if opset < 9 else node.op_type, None if opset < 9 else "resize_5d_to_4d") in objections(model)
    result, rows = rewritten(model)
    assert [name for name, _, _ in rows] == ["resize_5d_to_4d"]
    assert [entry for entry in objections(result) if entry[0] != "opset"] == []
    expected = IMAGE.repeat(2, 2).repeat(3, 3).repeat(2, 4)
    for graph in (model, result):
        np.testing.assert_array_equal(run_reference(graph, {"x": IMAGE})["y"], expected)


def test_nodes_of_one_name_are_rewritten_apart(tmp_path):
    first, constants, opset = upsampling("Resize 11", target="m")
    second, _, _ = upsampling("Resize 11", source="m")
    model = model_of(
        [first, second], [value("x", ["n", 2, 2, 3, 4])], [value("y", ["n", 2, 8, 27, 16])], constants, opset
    )
    path = saved(model, tmp_path)
    result, rows = rewritten(load_graph(path))
    assert [node for _, node, _ in rows] == ["up", "up_2"]
    assert_same(load_graph(path), result, {"x": IMAGE})
    done = run_onnxsim(path, tmp_path / "simple.onnx", {"x": IMAGE.shape}, timeout_s=120)
    assert done.simplified, done.reason
    assert_same(load_graph(path), load_graph(tmp_path / "simple.onnx"), {"x": IMAGE})


def test_made_up_names_avoid_those_of_the_graph():
    image = np.random.default_rng(1).standard_normal((2, 4, 16, 16, 32)).astype(np.float32) + 3
    scale, bias = constant("norm_scale", [2.0] * 4), constant("norm_bias", [1.0, 2.0, 3.0, 4.0])
    nodes = [
        helper.make_node("InstanceNormalization", ["x", "norm_scale", "norm_bias"], ["norm_plain_out"], "norm"),
        helper.make_node("Relu", ["norm_plain_out"], ["y"], "norm_mean"),
    ]
    shape = ["n", 4, 16, 16, 32]
    model = model_of(nodes, [value("x", shape)], [value("y", shape)], [scale, bias])
    result, rows = rewritten(model)
    assert len(rows) == 1
    assert_same(model, result, {"x": image}, limit=1e-5)


CONSTANT_FORMS = {
    "initializer": lambda w: ([constant("w", w)], []),
    "Constant value": lambda w: ([], [helper.make_node("Constant", [], ["w"], "k", value=constant("", w))]),
    "Identity of an initializer": lambda w: (
        [constant("stored", w)],
        [helper.make_node("Identity", ["stored"], ["w"], "k")],
    ),
    "Identity of a Constant": lambda w: (
        [],
        [
            helper.make_node("Constant", [], ["stored"], "k", value=constant("", w)),
            helper.make_node("Identity", ["stored"], ["w"], "i"),
        ],
    ),
}


@pytest.mark.parametrize("form", CONSTANT_FORMS)
def test_weights_count_and_shrink_in_every_form(form, tmp_path):
    weight = np.random.default_rng(2).standard_normal((8, 3, 3, 3)).astype(np.float32)
    initializers, nodes = CONSTANT_FORMS[form](weight)
    conv = helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1] * 4)
    model = model_of([*nodes, conv], [value("x", ["n", 3, 8, 8])], [value("y", ["n", 8, 8, 8])], initializers)
    path = saved(model, tmp_path)
    assert summarize_graph(load_graph(path)).parameters == weight.size
    halved = store_weights_in_f16(path, tmp_path / "half")
    assert halved.stat().st_size < path.stat().st_size - weight.nbytes // 3
    image = np.random.default_rng(3).standard_normal((2, 3, 8, 8)).astype(np.float32)
    error = relative_error(run_reference(model, {"x": image})["y"], run_reference(halved, {"x": image})["y"])
    assert 0 < error < 1e-3


@pytest.mark.parametrize(
    "given", [{"value_floats": [1.0, 1.0, 2.0, 2.0, 2.0]}, {"value_ints": [1, 2, 4, 6, 8]}], ids=["floats", "ints"]
)
def test_scales_and_sizes_are_read_from_lists(given):
    made = helper.make_node("Constant", [], ["s"], "k", **given)
    inputs = ["x", "", "s"] if "value_floats" in given else ["x", "", "", "s"]
    resize = helper.make_node("Resize", inputs, ["y"], "up", mode="nearest")
    shape = [1, 2, 4, 6, 8]
    model = model_of([made, resize], [value("x", list(IMAGE.shape))], [value("y", shape)], opset=13)
    result, rows = rewritten(model)
    assert len(rows) == 1
    assert_same(model, result, {"x": IMAGE}, limit=0)


def test_what_only_a_branch_reads_is_kept():
    image = np.random.default_rng(4).standard_normal((1, 4, 16, 16, 32)).astype(np.float32)
    norm = helper.make_node("InstanceNormalization", ["x", "scale", "bias"], ["m"], "norm")
    choice = branches(
        [helper.make_node("Add", ["m", "k"], ["then_out"], "a")],
        [helper.make_node("Sub", ["m", "k"], ["else_out"], "b")],
    )
    constants = [
        constant("scale", [2.0] * 4),
        constant("bias", [1.0] * 4),
        constant("k", [1.0]),
        constant("flag", True, bool),
    ]
    shape = ["n", 4, 16, 16, 32]
    model = model_of([norm, choice], [value("x", shape)], [value("y", shape)], constants)
    result, rows = rewritten(model)
    assert len(rows) == 1
    assert_same(model, result, {"x": image}, limit=1e-5)


def test_a_removed_pad_is_bypassed_within_branches_too():
    pad = helper.make_node("Pad", ["x", "pads"], ["m"], "pad")
    choice = branches(
        [helper.make_node("Relu", ["m"], ["then_out"], "a")], [helper.make_node("Neg", ["m"], ["else_out"], "b")]
    )
    constants = [constant("pads", [0] * 10, np.int64), constant("flag", True, bool)]
    shape = ["n", 2, 2, 3, 4]
    model = model_of([pad, choice], [value("x", shape)], [value("y", shape)], constants)
    result, rows = rewritten(model)
    assert [name for name, _, _ in rows] == ["drop_empty_pad"]
    assert_same(model, result, {"x": IMAGE})


def test_nodes_within_branches_are_counted_objected_to_and_rewritten(tmp_path):
    up, constants, opset = upsampling("Resize 11", target="then_out")
    other, more, _ = upsampling("Resize 11", name="other", target="else_out")
    choice = branches([up], [other])
    flag = constant("flag", True, bool)
    shape = ["n", 2, 2, 3, 4]
    model = model_of([choice], [value("x", shape)], [value("y", None)], [*constants, *more, flag], opset)
    path = saved(model, tmp_path)
    graph = load_graph(path)
    assert summarize_graph(graph).ops["Resize"] == 2
    assert objections(graph) == [("Resize", "resize_5d_to_4d")] * 2
    result, rows = rewritten(graph)
    assert len(rows) == 2 and objections(result) == []
    assert_same(graph, result, {"x": IMAGE}, limit=0)


def test_a_length_of_minus_one_is_an_unknown_one(tmp_path):
    node, constants, opset = upsampling("Resize 11")
    model = model_of([node], [value("x", [-1, 2, -1, -1, -1])], [value("y", [-1, 2, -1, -1, -1])], constants, opset)
    assert tensor_shapes(model)["x"] == (None, 2, None, None, None)
    graph = load_graph(saved(model, tmp_path))
    assert input_shape_of(graph) == (None, 2, None, None, None)
    assert objections(graph) == [("Resize", "resize_5d_to_4d")]
    assert rewritten(graph)[1] == []
    assert run_reference(graph, {"x": IMAGE})["y"].shape == (1, 2, 4, 9, 8)


def test_a_resize_of_unknown_rank_is_not_called_clean():
    node, constants, opset = upsampling("Resize 11")
    model = model_of([node], [value("x", None)], [value("y", None)], constants, opset)
    (objection,) = lint(model, load_target("ascend310"))
    assert "unknown" in objection.why
    with pytest.raises(GraphError, match="no input of known rank"):
        input_shape_of(model)


def test_initializers_among_the_inputs_are_constants(tmp_path):
    weight = np.ones((4, 2, 3, 3, 3), np.float32)
    conv = helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1] * 6)
    shape = ["n", 2, 8, 8, 8]
    inputs = [value("w", weight.shape), value("x", shape)]
    model = model_of([conv], inputs, [value("y", ["n", 4, 8, 8, 8])], [constant("w", weight)])
    graph = load_graph(saved(model, tmp_path))
    assert [port.name for port in graph.graph.input] == ["x"]
    assert input_shape_of(model) == (None, 2, 8, 8, 8)
    assert summarize_graph(graph).parameters == weight.size


def test_scalar_inputs_are_counted_without_an_error():
    nodes = [
        helper.make_node("Mul", ["x", "t"], ["m"], "mul"),
        helper.make_node("MatMul", ["m", "w"], ["y"], "product"),
    ]
    model = model_of(
        nodes, [value("x", [1, 3]), value("t", [])], [value("y", [1, 2])], [constant("w", np.ones((3, 2)))]
    )
    assert summarize_graph(model).macs_by_op == {"MatMul": 6}
    assert tensor_shapes(model)["t"] == ()
    dot = model_of(
        [helper.make_node("MatMul", ["a", "b"], ["y"], "dot")], [value("a", [3]), value("b", [3])], [value("y", [])]
    )
    assert summarize_graph(dot).macs >= 0


def external_model(folder: Path) -> Path:
    weight = np.random.default_rng(5).standard_normal((64, 3, 3, 3)).astype(np.float32)
    conv = helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1] * 4)
    model = model_of([conv], [value("x", ["n", 3, 16, 16])], [value("y", ["n", 64, 16, 16])], [constant("w", weight)])
    path = folder / "model.onnx"
    onnx.save_model(model, str(path), save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    return path


@pytest.mark.parametrize("timeout_s", [0.001, 120], ids=["kept unsimplified", "simplified"])
def test_external_weights_are_in_the_simplified_file(timeout_s, tmp_path):
    source = external_model(tmp_path)
    target = tmp_path / "elsewhere" / "simple.onnx"
    target.parent.mkdir()
    done = run_onnxsim(source, target, {"x": (1, 3, 16, 16)}, timeout_s=timeout_s)
    assert done.simplified == (timeout_s > 1)
    image = np.random.default_rng(6).standard_normal((1, 3, 16, 16)).astype(np.float32)
    assert_same(load_graph(source), load_graph(target), {"x": image})


def test_missing_external_weights_are_named(tmp_path):
    path = external_model(tmp_path)
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(GraphError, match=r"the weights of .* are missing.*model\.onnx\.data next to it"):
        load_graph(path)


@pytest.mark.parametrize("field", ["ir_version", "opset"])
def test_newer_versions_are_refused_with_theirs(field, tmp_path):
    add = helper.make_node("Add", ["x", "x"], ["y"], "add")
    model = model_of([add], [value("x", [1, 3])], [value("y", [1, 3])], opset=13)
    if field == "opset":
        model.opset_import[0].version = 99
    else:
        model.ir_version = 99
    with pytest.raises(GraphError, match=r"99.*at most"):
        load_graph(saved(model, tmp_path))


def test_a_graph_that_onnxruntime_refuses_is_one_line():
    broken = model_of([helper.make_node("Nonsense", ["x"], ["y"], "n")], [value("x", [1])], [value("y", [1])])
    with pytest.raises(GraphError, match="ONNX Runtime does not read the graph") as caught:
        run_reference(broken, {"x": np.ones(1, np.float32)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [1, 2])
def test_a_softmax_from_before_opset_13_is_the_same_in_openvino(op, axis, tmp_path):
    image = np.random.default_rng(7).standard_normal((1, 3, 4, 5)).astype(np.float32)
    node = helper.make_node(op, ["x"], ["y"], "softmax", axis=axis)
    model = model_of([node], [value("x", ["n", 3, 4, 5])], [value("y", ["n", 3, 4, 5])])
    result, rows = rewrite_graph(model, [rewrite_named("flatten_softmax")])
    assert len(rows) == 1
    with open_device(compile_openvino(saved(result, tmp_path), tmp_path / "device"), "cpu") as device:
        compiled = device.infer({"x": image})["y"]
    flat = image.reshape(int(np.prod(image.shape[:axis])), -1)
    expected = np.exp(flat) / np.exp(flat).sum(axis=1, keepdims=True)
    expected = (expected if op == "Softmax" else np.log(expected)).reshape(image.shape)
    for got in (run_reference(model, {"x": image})["y"], run_reference(result, {"x": image})["y"], compiled):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_a_softmax_over_the_last_axis_or_of_opset_13_is_left_alone():
    for axis, opset in ((3, 11), (1, 13)):
        node = helper.make_node("Softmax", ["x"], ["y"], "softmax", axis=axis)
        model = model_of([node], [value("x", [1, 3, 4, 5])], [value("y", [1, 3, 4, 5])], opset=opset)
        assert rewrite_graph(model, [rewrite_named("flatten_softmax")])[1] == []
