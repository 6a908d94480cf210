"""`mm_run` is called as in the published samples, and its one documented line is read."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from helpers.compile.magicmind import measure_throughput, mm_run_command, parse_throughput
from helpers.errors import CompileError
from helpers.graph.spec import GraphSpec
from tests.compile.magicmind_graphs import build, make_graph

HEART = GraphSpec("image", "class", (1, 320, 256), batch_size=16)


def test_the_command_is_the_published_one():
    # Cambricon/magicmind_cloud, nnUNet_pytorch/benchmark/perf.sh, with the README's options.
    published = "mm_run --magicmind_model M --input_dims 16,320,256,1 --devices 0 --threads 1 --iterations 1000"
    assert mm_run_command(Path("M"), HEART, ("NCHW", "NHWC")) == shlex.split(published)


def test_the_dims_follow_the_layout():
    volume = GraphSpec("image", "class", (4, 8, 9, 10), batch_size=2)
    assert "2,8,9,10,4" in mm_run_command(Path("M"), volume, ("NCDHW", "NDHWC"))
    assert "16,1,320,256" in mm_run_command(Path("M"), HEART, None)


def test_the_throughput_is_found_among_other_lines():
    text = "Device Utilization: 98\nThroughput (qps): 144.8100\nMin 25.0\n"
    assert parse_throughput(text) == pytest.approx(144.81)


@pytest.mark.parametrize("text", ["", "Throughput: 12", "Throughput (qps): fast"])
def test_output_without_the_line_is_an_error(text):
    with pytest.raises(CompileError, match="no throughput"):
        parse_throughput(text)


def test_it_runs_on_the_given_devices(tmp_path, magicmind_double, monkeypatch):
    graph, spec = make_graph(tmp_path, batch_size=3)
    model = build(graph, spec, magicmind_double)
    monkeypatch.setenv("PATH", f"{magicmind_double.bin}:/usr/bin:/bin")
    monkeypatch.setenv("MM_DOUBLE_PYTHON", magicmind_double.python)
    monkeypatch.setenv("MM_DOUBLE_REPORT", str(tmp_path / "run.json"))
    command = mm_run_command(model, spec, ("NCHW", "NHWC"), devices=(0, 1), threads=2, iterations=5)
    assert measure_throughput(command, tmp_path / "mm_run.log") > 0
    (timed,) = [report for report in magicmind_double.read_reports() if report["executes"]]
    assert timed["executes"] == {"0": 10, "1": 10} and timed["ok"]
    with pytest.raises(CompileError, match="mm_run failed: received exit code 1"):
        measure_throughput([*command, "--devices", "7"], tmp_path / "mm_run.log")


def test_it_is_an_error_if_it_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CompileError, match="not on this machine"):
        measure_throughput(["mm_run"], tmp_path / "log")
