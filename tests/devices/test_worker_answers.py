"""A device in another interpreter gives the same outputs as one in this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.devices import open_device
from helpers.devices.worker import WorkerDevice
from helpers.errors import CookbookError
from helpers.params.targets import load_target
from tests.devices.fake_worker import batch, check


def test_outputs_are_correct_while_the_batch_grows_and_shrinks(open_worker):
    device = open_worker()
    assert [(t.name, t.shape) for t in device.inputs] == [("x", (None, 2, 4, 5))]
    assert device.worker.interpreter.startswith(f"Python {sys.version.split()[0]}, numpy")
    for count in (1, 7, 2, 64, 3, 300, 1):
        check(device, batch(count))


def test_outputs_outlive_the_next_call_and_the_device(open_worker):
    device = open_worker()
    first = device.infer({"x": batch(2, 5)})["y"]
    copy = first.copy()
    device.infer({"x": batch(2, 9)})
    device.close()
    assert np.array_equal(first, copy)


def test_calls_in_flight_keep_their_outputs_apart_while_memory_grows(open_worker):
    device = open_worker(max_in_flight=4)
    inputs = [batch(1 + (index * 7) % 23, index) for index in range(60)]
    futures = [device.submit({"x": x}) for x in inputs]
    for x, future in zip(inputs, futures, strict=True):
        assert np.array_equal(future.result(timeout=60)["y"], 2 * x + 1)


def test_a_partial_batch_is_padded_and_cut(open_worker):
    device = open_worker(batches=[4])
    assert device.batches == (4,)
    check(device, batch(3))


def test_the_runtimes_output_does_not_break_the_protocol(open_worker):
    device = open_worker(noise=True)
    for count in (1, 2, 3):
        check(device, batch(count))


def test_the_interpreters_start_up_output_does_not_break_the_protocol(open_worker, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("print('welcome to this cluster', flush=True)\n", encoding="utf-8")
    check(open_worker(environment={"PYTHONPATH": str(site)}), batch(2))


def test_our_own_environment_does_not_reach_the_worker(open_worker, monkeypatch, tmp_path):
    (tmp_path / "numpy.py").write_text("raise ImportError('the wrong numpy')\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    check(open_worker(), batch(1))


def test_a_feed_that_does_not_fit_never_reaches_the_worker(open_worker):
    with pytest.raises(CookbookError, match="unknown or missing inputs"):
        open_worker().infer({"z": batch(1)})


def relu_model(path: Path) -> Path:
    import onnx
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2, 4, 5]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("LeakyRelu", ["x"], ["y"])], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), path)
    return path


def same_as_here(python: str, path: Path) -> WorkerDevice:
    target = load_target("onnxruntime")
    elsewhere = target.model_copy(update={"python": python})
    with open_device(path, target) as here, open_device(path, elsewhere) as there:
        assert isinstance(there, WorkerDevice)
        for count in (1, 4, 40):
            feeds = {"x": batch(count)}
            assert np.array_equal(here.infer(feeds)["y"], there.infer(feeds)["y"])
    return there


def test_onnxruntime_in_a_worker_gives_the_same_outputs(tmp_path):
    same_as_here(sys.executable, relu_model(tmp_path / "model.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.8", "3.12"])
def test_onnxruntime_in_another_python_gives_the_same_outputs(tmp_path, version):
    variable = f"COOKBOOK_PYTHON_{version.replace('.', '_')}"
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} names no interpreter with numpy and onnxruntime")
    device = same_as_here(python, relu_model(tmp_path / "model.onnx"))
    assert device.worker.interpreter.startswith(f"Python {version}.")
