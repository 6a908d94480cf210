"""MagicMind builds from ONNX and TorchScript in another interpreter; its failures and crashes become errors here."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from helpers.compile.magicmind import CalibrationFile, build_magicmind, find_magicmind
from helpers.errors import CompileError
from helpers.params.paths import PROJECT_ROOT
from tests.compile.magicmind_graphs import ClassMap, build, calibration, make_graph, make_torchscript


def _interface(path) -> dict:
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


def test_a_static_model_describes_its_batch_and_layouts(tmp_path, magicmind_double):
    graph, spec = make_graph(tmp_path, batch_size=4)
    path = build(graph, spec, magicmind_double, precision="f16", shape_mutable=False)
    assert path.name == "built.mm" and path.stat().st_size > 0
    assert _interface(path) == {
        "input": {"name": "image", "dtype": "float32", "shape": [4, 2, 12, 10], "layout": ["NCHW", "NHWC"]},
        "output": {"name": "scores", "dtype": "float32", "shape": [4, 3, 12, 10], "layout": ["NCHW", "NHWC"]},
        "batches": [4],
        "precision_mode": "force_float16",
        "calibration_windows": 0,
    }
    magicmind_double.assert_clean()


def test_a_model_from_torchscript_has_the_names_of_the_graph(tmp_path, magicmind_double):
    _, spec = make_graph(tmp_path)
    path = build(make_torchscript(tmp_path, spec), spec, magicmind_double)
    interface = _interface(path)
    assert (interface["input"]["name"], interface["output"]["name"]) == ("image", "scores")
    assert interface["batches"] == list(range(1, 65))
    assert interface["input"]["shape"] == [None, 2, 12, 10]
    magicmind_double.assert_clean()


def test_64_bit_classes_become_32_bit(tmp_path, magicmind_double):
    graph, spec = make_graph(tmp_path, network=ClassMap)
    path = build(graph, spec, magicmind_double, output_rank=3, output_shape=(None, 12, 10))
    assert _interface(path)["output"] == {
        "name": "scores", "dtype": "int32", "shape": [None, 12, 10], "layout": None,
    }  # fmt: skip


def test_a_quantised_build_uses_every_window(tmp_path, magicmind_double):
    graph, spec = make_graph(tmp_path, batch_size=2)
    path = build(graph, spec, magicmind_double, precision="qint8_mixed_float16", calibration=calibration(tmp_path, 5))
    assert _interface(path)["calibration_windows"] == 5
    (report,) = magicmind_double.read_reports()
    assert report["calls"]["calibrate"] == 1 and report["ok"]


def test_a_quantised_build_without_windows_is_rejected_before_magicmind_runs(tmp_path, magicmind_double):
    graph, spec = make_graph(tmp_path)
    with pytest.raises(CompileError, match="qint8_mixed_float32 needs a calibration set"):
        build(graph, spec, magicmind_double, precision="qint8_mixed_float32")
    assert not magicmind_double.read_reports()


@pytest.mark.parametrize("shape", [(0, 2, 12, 10), (5, 2, 10, 12), (5, 1, 12, 10)])
def test_windows_with_another_shape_are_rejected(shape, tmp_path, magicmind_double):
    graph, spec = make_graph(tmp_path)
    np.savez(tmp_path / "windows.npz", windows=np.zeros(shape, np.float32))
    with pytest.raises(CompileError, match="do not fit the input"):
        build(
            graph, spec, magicmind_double,
            precision="qint8_mixed_float16", calibration=CalibrationFile(tmp_path / "windows.npz"),
        )  # fmt: skip


def test_a_failed_build_leaves_only_its_log(tmp_path, magicmind_double):
    graph, spec = make_graph(tmp_path, network=ClassMap)
    with pytest.raises(CompileError, match="the builder returned no model"):
        build(
            graph, spec, magicmind_double,
            given={"opt_config": {"type64to32_conversion": False}}, output_rank=3,
        )  # fmt: skip
    assert [path.name for path in tmp_path.glob("built*")] == ["built.log"]


def test_an_invalid_graph_is_rejected_with_the_parsers_message(tmp_path, magicmind_double):
    graph, spec = make_graph(tmp_path)
    graph.write_bytes(b"junk")
    with pytest.raises(CompileError, match=r"parsing the graph: .*cannot parse"):
        build(graph, spec, magicmind_double)


class TestInterpreter:
    """The interpreter in the target's `python`."""

    def test_its_magicmind_is_found(self, magicmind_double):
        assert find_magicmind(magicmind_double.python).devices == 2

    def test_it_may_lack_magicmind(self, tmp_path, magicmind_double):
        assert find_magicmind(sys.executable) is None
        graph, spec = make_graph(tmp_path)
        with pytest.raises(CompileError, match="MagicMind is not installed"):
            build(graph, spec, magicmind_double, python=sys.executable)

    def test_it_may_not_exist(self, tmp_path):
        with pytest.raises(CompileError, match="cannot be started: received /nowhere/python"):
            find_magicmind("/nowhere/python")

    @pytest.mark.parametrize(
        ("program", "message"),
        [
            ("echo going down; kill -9 $$", "failed: received signal 9; going down"),
            ("echo no licence >&2; exit 3", "failed: received exit code 3; no licence"),
            ("echo all well", "wrote no result: received all well"),
            ("sleep 60", "took longer than 0.5 s"),
        ],
    )
    def test_its_crash_is_an_error_with_its_last_line(self, program, message, tmp_path):
        graph, spec = make_graph(tmp_path)
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\n{program}\n", encoding="utf-8")
        python.chmod(0o755)
        config = {"precision_config": {"precision_mode": "force_float32"}, "graph_shape_mutable": False}
        with pytest.raises(CompileError, match=message):
            build_magicmind(
                graph, tmp_path / "built", spec, config,
                python=str(python), output_shape=(1, 3, 12, 10), timeout_s=0.5 if "sleep" in program else 30,
            )  # fmt: skip
        assert not list(tmp_path.glob("built.[mj]*"))

    def test_its_path_excludes_our_packages(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PYTHONPATH", f"{PROJECT_ROOT}:/vendor")
        python = tmp_path / "python"
        python.write_text('#!/bin/sh\necho "path is [$PYTHONPATH]"\nexit 1\n', encoding="utf-8")
        python.chmod(0o755)
        with pytest.raises(CompileError, match=r"path is \[/vendor\]"):
            find_magicmind(str(python))
