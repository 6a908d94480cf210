"""OpenVINO's converter reports nothing, and the environment is as before."""

from __future__ import annotations

import os

import onnx
import openvino
import pytest
from onnx import TensorProto, helper
from openvino_telemetry.utils.opt_in_checker import ConsentCheckResult, OptInChecker

from helpers.compile.openvino import compile_openvino


@pytest.mark.parametrize("before", [None, "false"])
def test_a_conversion_is_not_reported(before, tmp_path, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    if before is not None:
        monkeypatch.setenv("CI", before)
    convert, consents = openvino.convert_model, []

    def record(*arguments):
        consents.append(OptInChecker().check(enable_opt_in_dialog=False, disable_in_ci=True))
        return convert(*arguments)

    monkeypatch.setattr(openvino, "convert_model", record)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4)) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    onnx.save(model, str(tmp_path / "graph.onnx"))
    assert compile_openvino(tmp_path / "graph.onnx", tmp_path / "model").is_file()
    assert consents == [ConsentCheckResult.DECLINED]
    assert os.environ.get("CI") == before
