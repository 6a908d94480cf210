"""Small ONNX files of every form that a card describes, and pictures for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from helpers.data.picture import write_png

MIX = np.array([[0.5, -0.25, 0.1], [-0.4, 0.3, 0.2]], np.float32)  # (classes, channels)


def save_model(
    path: Path,
    nodes: list[onnx.NodeProto],
    source: tuple,
    targets: list[tuple],
    constants: dict[str, np.ndarray],
    opset: int = 13,
) -> Path:
    """Saves a graph; a port is (name, element type, shape)."""
    tensors = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    ports = [helper.make_tensor_value_info(*port) for port in (source, *targets)]
    graph = helper.make_graph(nodes, "small", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return path


def mixer(path: Path, ending: str = "", *, batch: object = "batch", size: tuple = (16, 24), opset: int = 13) -> Path:
    """Three channels to two scores per pixel, perhaps with an op at the end."""
    nodes = [
        helper.make_node("Conv", ["image", "mix"], ["scores" if ending else "out"], "mixing", kernel_shape=[1, 1])
    ]
    element, shape = TensorProto.FLOAT, [batch, 2, *size]
    if ending == "ArgMax":
        nodes.append(helper.make_node("ArgMax", ["scores"], ["out"], "last", axis=1, keepdims=0))
        element, shape = TensorProto.INT64, [batch, *size]
    elif ending:
        attributes = {"axis": 1} if ending == "Softmax" else {}
        nodes.append(helper.make_node(ending, ["scores"], ["out"], "last", **attributes))
    source = ("image", TensorProto.FLOAT, [batch, 3, *size])
    return save_model(path, nodes, source, [("out", element, shape)], {"mix": MIX[:, :, None, None]}, opset)


def channels_last(path: Path, element: int = TensorProto.FLOAT) -> Path:
    """The same as TensorFlow exports it: (N, H, W, C), perhaps for bytes."""
    nodes = [] if element == TensorProto.FLOAT else [helper.make_node("Cast", ["image"], ["real"], "real", to=1)]
    nodes += [helper.make_node("MatMul", ["real" if nodes else "image", "mix"], ["out"], "mixing")]
    source = ("image", element, ["batch", 16, 24, 3])
    return save_model(path, nodes, source, [("out", TensorProto.FLOAT, ["batch", 16, 24, 2])], {"mix": MIX.T.copy()})


def two_outputs(path: Path) -> Path:
    """A second output with other scores, and the batch of the first on axis 1."""
    nodes = [
        helper.make_node("Conv", ["image", "mix"], ["other"], "mixing", kernel_shape=[1, 1]),
        helper.make_node("Neg", ["other"], ["negative"], "negative"),
        helper.make_node("Transpose", ["negative"], ["out"], "turn", perm=[1, 0, 2, 3]),
    ]
    source = ("image", TensorProto.FLOAT, ["batch", 3, 16, 24])
    targets = [("out", 1, [2, "batch", 16, 24]), ("other", 1, ["batch", 2, 16, 24])]
    return save_model(path, nodes, source, targets, {"mix": MIX[:, :, None, None]})


def thresholded(path: Path) -> Path:
    """Class numbers (N, 1, H, W) that no ArgMax makes."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["grey"], "grey", axes=[1], keepdims=1),
        helper.make_node("Greater", ["grey", "half"], ["above"], "above"),
        helper.make_node("Cast", ["above"], ["out"], "number", to=TensorProto.INT64),
    ]
    source = ("image", TensorProto.FLOAT, ["batch", 3, 16, 24])
    target = ("out", TensorProto.INT64, ["batch", 1, 16, 24])
    return save_model(path, nodes, source, [target], {"half": np.array([0.1], np.float32)})


def card_of(file: str, /, **changes: object) -> dict:
    """A card for a picture model of two classes, with whole sections replaced."""
    content: dict = {
        "model": {"file": file},
        "data": {"kind": "picture", "files": "{case}.png", "truth": "{case}_mask.png"},
        "preparation": {"fit": "resize", "intensity": [{"range": [0, 255]}]},
        "output": {"kind": "logits"},
        "classes": {"background": 0, "thing": 1},
    }
    for name, section in changes.items():
        content[name] = {**content[name], **section} if isinstance(content.get(name), dict) else section
    return content


def write_pictures(folder: Path, count: int = 2, size: tuple[int, int] = (40, 60)) -> Path:
    """Pictures with a bright square, which is the truth."""
    folder.mkdir(exist_ok=True)
    for index in range(count):
        random = np.random.default_rng(index)
        truth = np.zeros(size, np.uint8)
        truth[8 + index : 28, 10:40] = 1
        write_png(folder / f"p{index}.png", (60 + 150 * truth + random.integers(0, 20, size)).astype(np.uint8))
        write_png(folder / f"p{index}_mask.png", truth)
    return folder
