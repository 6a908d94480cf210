"""What PyTorch's exporter refuses is one line that names the op and the module, and nothing is printed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers.errors import GraphError
from helpers.graph.export import export_network
from helpers.graph.spec import GraphSpec


class Sampler(nn.Module):
    def forward(self, x):
        return functional.grid_sample(x, torch.zeros(1, 4, 4, 2))


class Spectrum(nn.Module):
    def forward(self, x):
        return torch.fft.fft2(x).real


class Pool(nn.Module):
    def forward(self, x):
        return functional.adaptive_avg_pool2d(x, (3, 5))


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("sizes do not match\nand more")


@pytest.mark.parametrize(
    "layer, message",
    [
        (Sampler, r"the op grid_sampler to ONNX: received in the module 1 \(Sampler\), opset 11.* opset 16 or later"),
        (Spectrum, r"the op fft_fft2 to ONNX: received in the module 1 \(Spectrum\)"),
        (Pool, r"the op adaptive_avg_pool2d to ONNX: received in the module 1 \(Pool\)"),
        (Failing, "cannot trace the network: received RuntimeError: sizes do not match and more"),
    ],
)
def test_a_refusal_is_one_line(layer, message, tmp_path, capfd):
    network = nn.Sequential(nn.Conv2d(1, 1, 1), layer())
    with pytest.raises(GraphError, match=message) as caught:
        export_network(network, GraphSpec("x", "y", (1, 4, 4), dynamic_batch=False), tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().out == ""
