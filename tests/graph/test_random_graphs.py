"""The simplified, rewritten, half-precision and compiled forms of random segmentation graphs agree with them."""

from __future__ import annotations

import numpy as np
import onnx
import onnxsim
import pytest

from helpers.compile.onnxruntime import store_weights_in_f16
from helpers.compile.openvino import compile_openvino
from helpers.devices import open_device
from helpers.graph.inspect import summarize_graph
from helpers.graph.read import load_graph, relative_error, run_reference
from helpers.graph.surgery import rewrite_graph, rewrite_named
from tests.graph.random_graphs import RESIZES, RandomGraph

LIMIT = 2e-4
LIMIT_F16_WEIGHTS = 2e-2
REWRITES = ("resize_5d_to_4d", "axiswise_instance_norm", "drop_empty_pad", "flatten_softmax")


def check_graph(seed: int, form: int, folder) -> dict[str, float]:
    """The errors of every form of one graph."""
    random = RandomGraph(seed, form)
    path = folder / "original.onnx"
    onnx.save(random.build(), str(path))
    original = load_graph(path)
    assert summarize_graph(original).parameters > 0
    shape = (1, *random.input_shape)
    image = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    expected = run_reference(original, {"x": image})["y"]
    simplified, agrees = onnxsim.simplify(original, check_n=1, test_input_shapes={"x": shape})
    assert agrees
    final, _ = rewrite_graph(simplified, [rewrite_named(name) for name in REWRITES])
    final_path = folder / "final.onnx"
    onnx.save(final, str(final_path))
    halved = store_weights_in_f16(final_path, folder / "half")
    results = {
        "simplified": run_reference(simplified, {"x": image})["y"],
        "rewritten": run_reference(final, {"x": image})["y"],
        "f16 weights": run_reference(halved, {"x": image})["y"],
    }
    with open_device(compile_openvino(final_path, folder / "final"), "cpu", precision="f32") as device:
        results["OpenVINO"] = device.infer({"x": image})["y"]
    return {name: relative_error(expected, result) for name, result in results.items()}


def assert_agrees(seed: int, folder) -> None:
    errors = check_graph(seed, seed % len(RESIZES), folder)
    f16 = errors.pop("f16 weights")
    assert max(errors.values()) < LIMIT and f16 < LIMIT_F16_WEIGHTS, (seed, errors, f16)


@pytest.mark.parametrize("seed", range(len(RESIZES)))
def test_a_graph_of_every_resize_agrees_in_every_form(seed, tmp_path):
    assert_agrees(seed, tmp_path)


@pytest.mark.slow
def test_three_hundred_graphs_agree_in_every_form(tmp_path):
    for seed in range(100, 412):
        assert_agrees(seed, tmp_path)
