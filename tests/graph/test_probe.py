"""A small window proves what a full one would; sizes and batches that a graph has of its own are noticed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from helpers.graph.export import export_network, trace_network
from helpers.graph.probe import open_at, probe_batch, probe_sample, probe_windows, prove_at
from helpers.graph.read import load_graph, relative_error
from helpers.graph.spec import GraphSpec

SPEC = GraphSpec("image", "class", (1, 64, 64))


class Net(nn.Module):
    """Down by eight and up again; `fix` adds an operation with a size of its own."""

    def __init__(self, fix: str = ""):
        super().__init__()
        torch.manual_seed(0)
        self.fix, self.down, self.up = fix, nn.Conv2d(1, 4, 8, stride=8), nn.ConvTranspose2d(4, 2, 8, stride=8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        deep = self.down(x)
        if self.fix == "size":
            deep = deep.reshape(-1, 4, 64).reshape(-1, 4, 8, 8)
        if self.fix == "batch":
            deep = deep.reshape(1, 4, *deep.shape[2:]) if torch.jit.is_tracing() else deep
        return self.up(deep)


def errors_of(network: Net, path, window):
    call = open_at(path, SPEC, window)
    for batch in SPEC.batches_to_prove():
        noise = probe_batch(SPEC, window, batch)
        with torch.no_grad():
            yield relative_error(network(torch.from_numpy(noise)).numpy(), call(noise))


def prove(network: Net, path):
    windows = probe_windows(load_graph(path), SPEC)
    return prove_at(windows, SPEC.batches_to_prove(), 1e-4, lambda window: errors_of(network, path, window))


def test_a_graph_without_sizes_is_proven_on_twice_its_stride(tmp_path):
    network = Net().eval()
    export_network(network, SPEC, tmp_path / "net.onnx")
    proof = prove(network, tmp_path / "net.onnx")
    assert (proof.window, proof.batches) == ((16, 16), (1, 2))
    assert proof.largest < 1e-5


def test_a_graph_with_a_size_of_its_own_is_proven_on_the_full_window(tmp_path):
    network = Net("size").eval()
    export_network(network, SPEC, tmp_path / "net.onnx")
    proof = prove(network, tmp_path / "net.onnx")
    assert proof.window == (64, 64) and proof.largest < 1e-5


def test_other_weights_fail_the_proof(tmp_path):
    network = Net().eval()
    export_network(network, SPEC, tmp_path / "net.onnx")
    with torch.no_grad():
        network.down.weight[0, 0, 0, 0] += 1
    assert prove(network, tmp_path / "net.onnx").largest > 1e-3


def test_a_batch_that_is_written_into_the_graph_fails_the_proof(tmp_path):
    network = Net("batch").eval()
    export_network(network, SPEC, tmp_path / "net.onnx")
    with pytest.raises(Exception, match="reshape"):
        prove(network, tmp_path / "net.onnx")


def test_the_answer_that_tracing_computes_is_the_networks_own(tmp_path):
    network, sample = Net().eval(), probe_sample(SPEC)
    _, answer = trace_network(network, SPEC, tmp_path / "traced.onnx", sample)
    with torch.inference_mode():
        assert np.array_equal(answer, network(torch.from_numpy(sample)).numpy())
    export_network(network, SPEC, tmp_path / "exported.onnx")
    assert (tmp_path / "traced.onnx").read_bytes() == (tmp_path / "exported.onnx").read_bytes()


def test_the_model_that_is_opened_at_another_size_is_not_changed(tmp_path):
    export_network(Net().eval(), SPEC, tmp_path / "net.onnx")
    model = onnx.load(str(tmp_path / "net.onnx"))
    before = model.SerializeToString(deterministic=True)
    open_at(model, SPEC, (16, 16))
    assert model.SerializeToString(deterministic=True) == before
