"""Simplifying preserves the outputs, or keeps the original graph and reports why."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from helpers.graph import simplify
from helpers.graph.read import run_reference
from helpers.graph.simplify import run_onnxsim

SHAPES = {"x": (1, 4)}


@pytest.fixture
def source(tmp_path):
    """A graph with foldable constants: y = x + (1 + 2), through an Identity."""
    nodes = [
        helper.make_node("Add", ["one", "two"], ["three"]),
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Add", ["same", "three"], ["y"]),
    ]
    constants = [numpy_helper.from_array(np.full(4, v, np.float32), n) for n, v in (("one", 1), ("two", 2))]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ("batch", 4)) for n in "xy"]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    path = tmp_path / "source.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), path)
    return path


def test_constants_are_folded_and_the_outputs_stay_the_same(source, tmp_path):
    done = run_onnxsim(source, tmp_path / "out.onnx", SHAPES, timeout_s=120)
    assert (done.simplified, done.reason, done.nodes_before, done.nodes_after) == (True, "", 3, 1)
    x = np.random.default_rng(0).standard_normal((3, 4), dtype=np.float32)  # the batch stays dynamic
    assert np.array_equal(run_reference(tmp_path / "out.onnx", {"x": x})["y"], x + 3)


def kept(source, target, **options):
    done = run_onnxsim(source, target, SHAPES, **{"timeout_s": 60, **options})
    assert not done.simplified
    assert done.nodes_after == done.nodes_before == 3
    assert target.read_bytes() == source.read_bytes()
    return done.reason


def test_a_child_that_takes_too_long_is_ended_and_the_graph_kept(source, tmp_path, monkeypatch):
    monkeypatch.setattr(simplify, "_CHILD", "import time; time.sleep(60)")
    started = time.monotonic()
    assert "longer than 0.5 s" in kept(source, tmp_path / "out.onnx", timeout_s=0.5)
    assert time.monotonic() - started < 20


def test_a_child_that_crashes_while_writing_leaves_the_complete_original(source, tmp_path, monkeypatch):
    crash = "import os, sys; open(sys.argv[2], 'wb').write(b'half'); os.kill(os.getpid(), 11)"
    monkeypatch.setattr(simplify, "_CHILD", crash)
    assert "crashed with signal 11" in kept(source, tmp_path / "out.onnx")


def test_a_child_that_raises_is_quoted(source, tmp_path, monkeypatch):
    monkeypatch.setattr(simplify, "_CHILD", "raise ValueError('no such pass')")
    assert "ValueError: no such pass" in kept(source, tmp_path / "out.onnx")


def test_a_child_that_writes_nothing_has_failed(source, tmp_path, monkeypatch):
    monkeypatch.setattr(simplify, "_CHILD", "pass")
    assert "wrote no file" in kept(source, tmp_path / "out.onnx")


def test_a_file_from_an_earlier_attempt_is_not_taken_for_the_result(source, tmp_path, monkeypatch):
    monkeypatch.setattr(simplify, "_CHILD", "pass")
    (tmp_path / "out.onnx").write_bytes(b"an earlier attempt")
    assert "wrote no file" in kept(source, tmp_path / "out.onnx")


def test_a_graph_with_different_outputs_is_not_used(source, tmp_path, monkeypatch):
    fake = "import sys, types\nfake = types.ModuleType('onnxsim')\nfake.simplify = lambda *a, **k: (None, False)\n"
    monkeypatch.setattr(simplify, "_CHILD", fake + "sys.modules['onnxsim'] = fake\n" + simplify._CHILD)
    assert "does not compute the same outputs" in kept(source, tmp_path / "out.onnx")


@pytest.mark.parametrize(("requested", "done"), [(0, "1"), (-2, "1"), (4, "4")])
def test_at_least_one_comparison_is_made(source, tmp_path, monkeypatch, requested, done):
    monkeypatch.setattr(simplify, "_CHILD", "import sys; sys.exit('check_n ' + sys.argv[3])")
    assert kept(source, tmp_path / "out.onnx", check_n=requested).endswith(f"check_n {done}")
