"""Frozen graphs of TensorFlow 1 become ONNX, with the numbers that torch's gradients define."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from helpers.errors import GraphError
from helpers.graph.frozen_graph import convert_frozen_graph, read_frozen_graph, same_padding
from helpers.graph.read import run_reference

# The wire format of protocol buffers, written by hand: what is read must not be what wrote it.


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    made = b""
    while value > 127:
        made, value = made + bytes([value & 127 | 128]), value >> 7
    return made + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def block(field: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def node(name: str, op: str, inputs: tuple[str, ...] = (), **attributes: bytes) -> bytes:
    entries = [block(5, block(1, key) + block(2, value)) for key, value in attributes.items()]
    return block(1, block(1, name) + block(2, op) + b"".join(block(3, text) for text in inputs) + b"".join(entries))


def text(value: str) -> bytes:
    return block(2, value)


def integers(*values: int) -> bytes:
    return block(1, block(3, b"".join(varint(value) for value in values)))  # packed, as proto3 writes them


def constant(name: str, values: np.ndarray) -> bytes:
    kind = {"float32": 1, "int32": 3}[str(values.dtype)]
    shape = block(2, b"".join(block(2, number(1, size)) for size in values.shape))
    return node(
        name, "Const", dtype=number(6, kind), value=block(8, number(1, kind) + shape + block(4, values.tobytes()))
    )


def convolution(name: str, source: str, kernel: str, step: int, padding: str = "SAME") -> bytes:
    attributes = {"strides": integers(1, step, step, step, 1), "padding": text(padding), "data_format": text("NDHWC")}
    return node(name, "Conv3D", (source, kernel), **attributes)


RANDOM = np.random.default_rng(0)
DOWN = RANDOM.standard_normal((3, 3, 3, 2, 4)).astype(np.float32)  # (Z, Y, X, in, out)
UP = RANDOM.standard_normal((3, 3, 3, 2, 4)).astype(np.float32)  # (Z, Y, X, out, in)
BIAS = RANDOM.standard_normal(4).astype(np.float32)


def u_net(padding: str = "SAME") -> bytes:
    """Down by two, a dropout as tf.layers writes it, up by two, and a skip connection."""
    up = {"strides": integers(1, 2, 2, 2, 1), "padding": text("SAME"), "data_format": text("NDHWC")}
    return b"".join(
        [
            node("img", "PlaceholderWithDefault", ("iterator",)),
            constant("down/kernel", DOWN),
            node("down/kernel/read", "Identity", ("down/kernel",)),
            constant("bias", BIAS),
            convolution("down", "img", "down/kernel/read", 2, padding),
            node("biased", "BiasAdd", ("down", "bias"), data_format=text("NDHWC")),
            node("relu", "Relu", ("biased",)),
            node("drop/Switch", "Switch", ("relu", "training")),
            node("drop/Identity", "Identity", ("drop/Switch",)),
            node("drop/noise", "Mul", ("drop/Switch:1", "random")),
            node("drop/Merge", "Merge", ("drop/noise", "drop/Identity")),
            constant("up/kernel", UP),
            node("up", "Conv3DBackpropInputV2", ("sizes", "up/kernel", "drop/Merge"), **up),
            constant("axis", np.array(4, np.int32)),
            node("both", "ConcatV2", ("up", "img", "axis")),
            node("prob", "Sigmoid", ("both",)),
        ]
    )


def expected(image: np.ndarray) -> np.ndarray:
    """The same network in torch; the transposed convolution is the gradient of a convolution, by definition."""
    x = torch.from_numpy(image).permute(0, 4, 1, 2, 3)
    pads = [pad for size in reversed(x.shape[2:]) for pad in same_padding(size, 3, 2)]
    kernel = torch.from_numpy(DOWN).permute(4, 3, 0, 1, 2)
    low = functional.conv3d(functional.pad(x, pads), kernel, torch.from_numpy(BIAS), stride=2).relu()
    big = torch.zeros_like(x, requires_grad=True)
    forward = functional.conv3d(functional.pad(big, pads), torch.from_numpy(UP).permute(4, 3, 0, 1, 2), stride=2)
    (up,) = torch.autograd.grad(forward, big, low)
    return torch.cat([up, x], dim=1).sigmoid().permute(0, 2, 3, 4, 1).numpy()


def test_a_u_net_computes_the_same_numbers(tmp_path):
    (tmp_path / "graph.pb").write_bytes(u_net())
    kinds = convert_frozen_graph(
        tmp_path / "graph.pb", tmp_path / "net.onnx", output="prob", shape=(None, 8, 6, 10, 2)
    )
    assert {"Conv3D", "Conv3DBackpropInputV2", "Merge", "BiasAdd"} <= set(kinds)
    image = RANDOM.standard_normal((2, 8, 6, 10, 2)).astype(np.float32)
    made = run_reference(tmp_path / "net.onnx", {"img_last": image})["scores"]
    assert np.abs(made - expected(image)).max() < 1e-5


def test_same_padding_is_tensorflows():
    # The formula of tf.nn.convolution's documentation, evaluated for every small case.
    for size in range(1, 12):
        for kernel in range(1, 6):
            for stride in range(1, 4):
                total = max(kernel - stride, 0) if size % stride == 0 else max(kernel - size % stride, 0)
                assert same_padding(size, kernel, stride) == (total // 2, total - total // 2)


def test_a_constant_of_one_value_is_filled_up(tmp_path):
    shape = block(2, block(2, number(1, 3)))
    one = number(1, 1) + shape + block(5, struct.pack("<f", 0.5))
    (tmp_path / "graph.pb").write_bytes(node("half", "Const", value=block(8, one)))
    from helpers.graph.frozen_graph import tensor_values

    (read,) = read_frozen_graph(tmp_path / "graph.pb")
    assert tensor_values(read.attributes["value"].tensor).tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("content", "output", "said"),
    [
        (b"\x00\x01not a graph", "prob", "is not a frozen graph"),
        (b"", "prob", "is not a frozen graph"),
        (u_net(), "pred", "has no node 'pred'"),
        (node("img", "Placeholder") + node("prob", "FFT", ("img",)), "prob", "received FFT"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, content, output, said):
    (tmp_path / "graph.pb").write_bytes(content)
    with pytest.raises(GraphError) as caught:
        convert_frozen_graph(tmp_path / "graph.pb", tmp_path / "net.onnx", output=output, shape=(None, 8, 8, 8, 2))
    assert said in caught.value.line() and not (tmp_path / "net.onnx").exists()
