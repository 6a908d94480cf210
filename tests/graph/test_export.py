"""An exported file has the opset, names and shapes of its spec, and computes the same outputs as the network."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from helpers.errors import GraphError
from helpers.graph.export import check_contract, export_network
from helpers.graph.read import input_shape_of, load_graph, opset_of, run_reference, tensor_shapes
from helpers.graph.spec import GraphSpec

SPEC = GraphSpec("image", "scores", (2, 6, 8), opset=11)


class Net(torch.nn.Module):
    """Dropout and batch norm reveal the training mode; a second output has to be dropped."""

    def __init__(self, outputs: int = 1):
        super().__init__()
        self.outputs = outputs
        self.conv = torch.nn.Conv2d(2, 3, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(3)
        self.drop = torch.nn.Dropout2d(0.5)
        torch.nn.init.uniform_(self.norm.running_mean, 0.5, 1.0)

    def forward(self, x):
        x = self.drop(torch.relu(self.norm(self.conv(x))))
        return x if self.outputs == 1 else [x, x.mean(dim=1)]


@pytest.fixture
def network():
    torch.manual_seed(3)
    return Net()


def relu_model(opset: int, shape=("batch", 2, 6, 8), input_name: str = "image") -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Relu", [input_name], ["scores"])],
        "g",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_the_file_declares_the_requested_opset(network, tmp_path, opset):
    spec = dataclasses.replace(SPEC, opset=opset)
    export_network(network, spec, tmp_path / "net.onnx")
    declared = {entry.domain: entry.version for entry in onnx.load(tmp_path / "net.onnx").opset_import}
    assert declared[""] == opset


@pytest.mark.parametrize("batch", [1, 3])
def test_a_dynamic_batch_computes_the_same_outputs_as_the_network(network, tmp_path, batch):
    export_network(network.train(), SPEC, tmp_path / "net.onnx")
    sample = np.random.default_rng(batch).standard_normal((batch, 2, 6, 8), dtype=np.float32)
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(sample)).numpy()
    actual = run_reference(tmp_path / "net.onnx", {"image": sample})
    assert list(actual) == ["scores"]
    np.testing.assert_allclose(actual["scores"], expected, atol=1e-5)


def test_a_static_batch_is_fixed_in_the_file(network, tmp_path):
    spec = dataclasses.replace(SPEC, dynamic_batch=False, batch_size=2)
    model = export_network(network, spec, tmp_path / "net.onnx")
    assert input_shape_of(model) == (2, 2, 6, 8)
    assert tensor_shapes(model)["scores"] == (2, 3, 6, 8)


def test_outputs_after_the_first_are_dropped(tmp_path):
    torch.manual_seed(3)
    network = Net(outputs=2)
    model = export_network(network, SPEC, tmp_path / "net.onnx")
    assert [value.name for value in model.graph.output] == ["scores"]
    sample = np.ones((1, 2, 6, 8), np.float32)
    with torch.inference_mode():
        first = network.eval()(torch.from_numpy(sample))[0].numpy()
    np.testing.assert_allclose(run_reference(model, {"image": sample})["scores"], first, atol=1e-5)


def test_a_graph_that_matches_its_spec_is_accepted():
    check_contract(relu_model(11), SPEC)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (relu_model(18), "received 18, expected 11"),
        (relu_model(11, input_name="x"), "received ['x'], expected ['image']"),
        (relu_model(11, shape=(1, 2, 6, 8)), "unexpected shape"),
        (relu_model(11, shape=("batch", 2, 8, 6)), "unexpected shape"),
    ],
    ids=["opset", "name", "fixed batch", "size"],
)
def test_a_graph_that_does_not_match_its_spec_is_rejected(model, message):
    with pytest.raises(GraphError) as refusal:
        check_contract(model, SPEC)
    assert message in str(refusal.value)


def test_a_graph_with_a_second_output_is_rejected():
    model = relu_model(11)
    model.graph.node.append(helper.make_node("Neg", ["image"], ["more"]))
    model.graph.output.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, ("batch", 2, 6, 8)))
    with pytest.raises(GraphError, match="output"):
        check_contract(model, SPEC)


def test_a_graph_that_fails_the_checker_is_rejected():
    model = relu_model(11)
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(GraphError, match="checker"):
        check_contract(model, SPEC)


def test_the_opset_is_that_of_the_default_domain():
    model = relu_model(13)
    model.opset_import.insert(0, helper.make_opsetid("com.microsoft", 1))
    assert opset_of(model) == 13


def test_a_file_that_is_not_a_model_is_rejected_in_one_line(tmp_path):
    (tmp_path / "junk.onnx").write_bytes(b"\xff" * 64)
    with pytest.raises(GraphError, match=r"junk\.onnx is not an ONNX model"):
        load_graph(tmp_path / "junk.onnx")
