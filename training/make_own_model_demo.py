"""Writes `helpers/weights/own_model_demo.onnx`: a network with weights that were chosen, not trained.

It has the form of a small U-Net: a strided convolution, a Resize, a skip connection. Each class is the grey level
nearest to it, after smoothing.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TARGET = Path(__file__).resolve().parents[1] / "helpers" / "weights" / "own_model_demo.onnx"
OPSET = 13
GREYS = np.array([30.0, 115.0, 220.0], np.float32) / 255
SHARPNESS = 40.0


def smoothing(side: int, sigma: float) -> np.ndarray:
    """A Gaussian kernel (1, 1, side, side) float32 whose sum is 1."""
    place = np.arange(side) - side // 2
    profile = np.exp(-0.5 * (place / sigma) ** 2)
    kernel = np.outer(profile, profile)
    return (kernel / kernel.sum()).astype(np.float32)[None, None]


def build() -> onnx.ModelProto:
    """The network: grey pictures (N, 1, H, W) in 0..1 to logits (N, 3, H, W)."""
    # -(x - grey)² without the x² that all classes share: 2 x grey - grey².
    mix = np.zeros((3, 2, 1, 1), np.float32)
    mix[:, 0, 0, 0], mix[:, 1, 0, 0] = 0.3 * 2 * GREYS * SHARPNESS, 0.7 * 2 * GREYS * SHARPNESS
    constants = {
        "fine.weight": smoothing(5, 1.2),
        "coarse.weight": smoothing(5, 1.5),
        "mix.weight": mix,
        "mix.bias": -(GREYS**2) * SHARPNESS,
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    strided = {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["image", "fine.weight"], ["fine"], "fine", kernel_shape=[5, 5], pads=[2, 2, 2, 2]),
        helper.make_node("Conv", ["image", "coarse.weight"], ["coarse"], "coarse", **strided),
        helper.make_node("Relu", ["coarse"], ["active"], "active"),
        helper.make_node("Resize", ["active", "", "scales"], ["grown"], "grown", mode="linear"),
        helper.make_node("Concat", ["fine", "grown"], ["both"], "both", axis=1),
        helper.make_node("Conv", ["both", "mix.weight", "mix.bias"], ["scores"], "mix", kernel_shape=[1, 1]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, "height", "width"])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    tensors = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "cells", [image], [scores], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    onnx.save(build(), str(TARGET))
    logging.info("%s, %d bytes", TARGET.name, TARGET.stat().st_size)
