"""Bisection finds the node with a planted fault, in a small graph and, marked slow, in the graphs of the recipes."""

from __future__ import annotations

import importlib.util
import math
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from helpers import recipes
from helpers.graph.export import export_network
from helpers.graph.spec import GraphSpec
from helpers.study.bisect import bisect, find_culprit, out_nodes_arguments
from helpers.study.trace import NodeError, OnnxTracer, OpenVinoTracer, compare_nodes

_SPEC = importlib.util.spec_from_file_location("planted_faults", Path(__file__).with_name("planted_faults.py"))
planted = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(planted)


class Small(torch.nn.Module):
    """A U-Net with one step and norms."""

    def __init__(self):
        super().__init__()
        self.first = self._block(1, 4, 1)
        self.down = self._block(4, 6, 2)
        self.up = torch.nn.ConvTranspose3d(6, 4, 2, stride=2)
        self.last = torch.nn.Sequential(self._block(8, 4, 1), torch.nn.Conv3d(4, 3, 1))

    @staticmethod
    def _block(channels: int, width: int, stride: int) -> torch.nn.Module:
        conv = torch.nn.Conv3d(channels, width, 3, stride=stride, padding=1)
        return torch.nn.Sequential(conv, torch.nn.InstanceNorm3d(width, affine=True), torch.nn.LeakyReLU(0.01))

    def forward(self, x):
        x = self.first(x)
        return self.last(torch.cat([x, self.up(self.down(x))], dim=1))


def _export(network, spec: GraphSpec, folder: Path) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(export_network(network, spec, folder / "model.onnx"))


def _sample(spec: GraphSpec) -> dict[str, np.ndarray]:
    return {spec.input_name: np.random.default_rng(0).standard_normal(spec.batch_shape(1), dtype=np.float32)}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    torch.manual_seed(0)
    spec = GraphSpec("image", "scores", (1, 16, 16, 16))
    return _export(Small().eval(), spec, tmp_path_factory.mktemp("small")), _sample(spec)


def _find(model, feeds, fault: str):
    reference, candidate, node = planted.FAULTS[fault](model)
    found = bisect(
        reference,
        OnnxTracer(reference),
        OnnxTracer(candidate),
        feeds,
        tolerance=1e-3,
        reopen=OnnxTracer,
        candidate_model=candidate,
    )
    return found, node


@pytest.mark.parametrize("fault", planted.FAULTS)
def test_the_planted_fault_is_found(small, fault):
    model, feeds = small
    found, node = _find(model, feeds, fault)
    assert found.culprit.node == node
    assert found.final_error > 1e-3
    assert found.repaired_error < 1e-5
    assert found.culprit.input_error < 1e-5


def test_an_equal_graph_has_no_culprit(small):
    model, feeds = small
    found = bisect(model, OnnxTracer(model), OpenVinoTracer(model), feeds, tolerance=1e-3)
    assert found.culprit is None and found.final_error < 1e-4
    assert len(found.rows) == sum(node.op_type != "Constant" for node in model.graph.node)


def test_every_layer_has_an_error_in_bf16(small):
    model, feeds = small
    rows = compare_nodes(model, OnnxTracer(model), OpenVinoTracer(model, "bf16"), feeds)
    layers = [row.error for row in rows if row.op in planted.LAYERS]
    assert all(1e-4 < error < 0.1 for error in layers)


def test_small_chunks_give_the_same_rows(small):
    model, feeds = small
    _, candidate, _ = planted.perturb_weights(model)
    at_once = compare_nodes(model, OnnxTracer(model), OnnxTracer(candidate), feeds)
    one_by_one = compare_nodes(model, OnnxTracer(model), OnnxTracer(candidate), feeds, chunk_bytes=1)
    assert at_once == one_by_one


def _row(node: str, error: float, arriving: float) -> NodeError:
    return NodeError(node, "Conv", node, (1,), error, arriving, (0.0, 1.0), (0.0, 1.0))


def test_the_culprit_is_where_the_error_jumps():
    rows = [_row("a", 1e-7, 0), _row("b", 2e-4, 1e-7), _row("c", 6e-4, 2e-4)]
    rows += [_row("d", 0.5, 6e-4), _row("e", 0.9, 0.5)]
    assert find_culprit(rows, 1e-3).node == "d"
    assert find_culprit(rows[:3], 1e-3) is None
    slow = [_row("a", 1e-2, 6e-3), _row("b", 3e-2, 1e-2), _row("c", 4e-2, 3e-2)]
    assert find_culprit(slow, 1e-3).node == "b"
    broken = [_row("a", math.inf, 1e-7), _row("b", math.inf, math.inf)]
    assert find_culprit(broken, 1e-3).node == "a"


def test_out_nodes_mark_every_node_once(small):
    model, _ = small
    names = [part for value in out_nodes_arguments(model, 4) for part in value.split(";")]
    assert names == [f"{node.name}:0" for node in model.graph.node if node.op_type != "Constant"]


def test_a_culprit_with_a_computed_size_is_repaired_alone():
    def graph(**how):
        nodes = [
            helper.make_node("Shape", ["x"], ["s"], "shape"),
            helper.make_node("Mul", ["s", "two"], ["sizes"], "sizes_of"),
            helper.make_node("Resize", ["x", "", "", "sizes"], ["r"], "up", **how),
            helper.make_node("Relu", ["r"], ["y"], "relu"),
        ]
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 1, e, e]) for n, e in (("x", 4), ("y", 8))]
        two = numpy_helper.from_array(np.array([1, 1, 2, 2], np.int64), "two")
        made = helper.make_graph(nodes, "g", ends[:1], ends[1:], [two])
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

    good, bad = graph(mode="nearest"), graph(mode="linear")
    x = np.random.default_rng(0).standard_normal((1, 1, 4, 4)).astype(np.float32)
    forms = (OnnxTracer(good), OnnxTracer(bad))
    found = bisect(good, *forms, {"x": x}, tolerance=1e-3, reopen=OnnxTracer, candidate_model=bad)
    assert found.culprit.node == "up" and found.repaired_error < 1e-3 < found.final_error


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """The graph of each recipe with its demo weights at the demo's size, exported once."""
    made = {}

    def get(name: str):
        if name not in made:
            recipe = recipes.load(name)
            params = recipe.prepare_params()
            spec = recipe.model.graph_spec(params)
            model = _export(recipe.model.load_for_export(params), spec, tmp_path_factory.mktemp(name))
            made[name] = model, _sample(spec)
        return made[name]

    return get


@pytest.mark.slow
@pytest.mark.parametrize("fault", planted.FAULTS)
# The demo of own_model is an ONNX file of a few nodes, without a norm to plant a fault in.
@pytest.mark.parametrize("recipe", [name for name in recipes.recipe_names() if name != "own_model"])
def test_the_planted_fault_is_found_in_the_graph_of_every_recipe(official, recipe, fault):
    model, feeds = official(recipe)
    start = time.perf_counter()
    found, node = _find(model, feeds, fault)
    assert found.culprit.node == node, found.verdict()
    assert found.repaired_error < 1e-4
    assert time.perf_counter() - start < 60
