"""A culprit whose inputs are whole numbers."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from helpers.study.bisect import bisect
from helpers.study.trace import OnnxTracer


def test_a_culprit_with_a_computed_size_is_tried_alone():
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
