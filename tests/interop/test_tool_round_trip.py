"""Samples to each tool's double and outputs back: masks are byte-equal to those of the graph in this process."""

from __future__ import annotations

import os

import numpy as np
import onnxruntime
import pytest

from helpers.inference import WindowPlan, as_predictor, count_samples, infer_job
from helpers.interop.exchange import Exchange, check_room, measure_exchange
from helpers.interop.ports import ModelPorts

WINDOW = (8, 10, 12)
PLAN = WindowPlan(WINDOW, 2, mirror_axes=(2,), batch_size=4)
TOOLS = ["msame", "benchmark", "ais_bench"]


def volumes() -> list[tuple[str, np.ndarray, WindowPlan]]:
    """Two cases of 2 × 32 and of 6 windows: 70 samples, so that the last batch of 4 is half full."""
    random = np.random.default_rng(1)
    first, second = (random.standard_normal(shape, dtype=np.float32) for shape in ((1, 9, 21, 25), (1, 11, 10, 22)))
    return [("la_1.dotted name", first, PLAN), ("second", second, WindowPlan(WINDOW, 2, batch_size=4))]


def run_graph(path):
    """The graph in this process, without a device in between."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda batch: session.run(["class"], {"image": batch})[0]


def exchange_through(tool, om, folder, cases, ports, run_shown, chips=1, **settings):
    """The answers of every case after the tool's commands were run as they are shown."""
    exchange = Exchange(folder, tool, ports, chips)
    exchange.write(cases)
    assert exchange.missing() > 0
    run_shown(exchange.shown_commands(os.path.relpath(om, folder)), folder, **settings)
    back = Exchange(folder, tool, ports, chips)
    assert back.is_written and back.missing() == 0
    return back, {name: infer_job(image, back.predictor(name), plan) for name, image, plan in cases}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("tool", TOOLS)
def test_labels_are_byte_equal(tool, batch, compile_om, run_shown, tmp_path):
    om = compile_om(WINDOW, batch)
    ports = ModelPorts("image", "class", (1, *WINDOW), (2, *WINDOW), batch_size=batch)
    cases = volumes()
    back, answers = exchange_through(tool, om, tmp_path / "exchange", cases, ports, run_shown)
    call = run_graph(tmp_path / "small.onnx")
    for name, image, plan in cases:
        assert answers[name].tobytes() == infer_job(image, as_predictor(call), plan).tobytes()
        assert answers[name].any()
    times = back.read_times()
    assert times.ms_per_batch * times.samples_per_second == pytest.approx(1000 * batch, rel=1e-3)
    need = measure_exchange([(image.shape, plan) for _, image, plan in cases], ports)
    written = sum(path.stat().st_size for path in (back.folder / "input").iterdir())
    padding = -need.samples % batch if tool == "msame" else 0
    assert need.samples == sum(count_samples(image.shape, plan) for _, image, plan in cases) == 70
    assert written == need.input_bytes + padding * ports.input_bytes
    check_room(need, tmp_path)


def test_a_list_in_four_parts_is_answered_by_four_devices(compile_om, run_shown, tmp_path):
    om = compile_om(WINDOW, 4)
    ports = ModelPorts("image", "class", (1, *WINDOW), (2, *WINDOW), batch_size=4)
    cases, folder = volumes(), tmp_path / "exchange"
    settings = {"CANN_DOUBLE_DEVICES": "4"}
    _, answers = exchange_through("benchmark", om, folder, cases, ports, run_shown, chips=4, **settings)
    graph = as_predictor(run_graph(tmp_path / "small.onnx"))
    assert all(answers[name].tobytes() == infer_job(image, graph, plan).tobytes() for name, image, plan in cases)
    lists = [(folder / f"device{chip}.info").read_text(encoding="utf-8").splitlines() for chip in range(4)]
    assert [len(lines) for lines in lists] == [18, 18, 17, 17]
    assert all(line.split(" ")[0] == str(index) for lines in lists for index, line in enumerate(lines))
    assert {path.name for path in (folder / "result").glob("dump*")} == {f"dumpOutput_device{n}" for n in range(4)}


@pytest.mark.parametrize("tool", TOOLS)
def test_of_five_outputs_the_requested_one_is_kept(tool, compile_om, run_shown, tmp_path):
    om = compile_om(WINDOW, 1, outputs=5)
    ports = ModelPorts("image", "extra3", (1, *WINDOW), (2, *WINDOW), output_index=3)
    case = volumes()[1]
    plan = case[2]
    _, answers = exchange_through(tool, om, tmp_path / "exchange", [case], ports, run_shown)
    session = onnxruntime.InferenceSession(str(tmp_path / "small.onnx"), providers=["CPUExecutionProvider"])
    expected = infer_job(case[1], as_predictor(lambda batch: session.run(["extra3"], {"image": batch})[0]), plan)
    assert answers["second"].tobytes() == expected.tobytes()


@pytest.mark.parametrize("tool", TOOLS)
def test_a_class_map_with_its_batch_on_axis_one(tool, compile_om, run_shown, tmp_path):
    size = (20, 24)
    om = compile_om(size, 4, classes=5, class_map=True)
    ports = ModelPorts("image", "class", (1, *size), (1, *size), True, batch_size=4, output_batch_axis=1)
    random = np.random.default_rng(2)
    cases = [(f"car {index}", random.standard_normal((1, *size), dtype=np.float32), None) for index in range(6)]
    back, answers = exchange_through(tool, om, tmp_path / "exchange", cases, ports, run_shown)
    shown = " ".join(back.shown_commands("small.om"))
    assert ("--output_batchsize_axis 1" in shown) is (tool == "ais_bench")
    call = run_graph(tmp_path / "small.onnx")
    for name, image, _ in cases:
        expected = call(image[None])
        assert answers[name].shape == expected.shape == (1, 1, *size)
        assert answers[name].dtype == np.int32  # the compiler's, not the graph's int64
        assert np.array_equal(answers[name], expected) and len(np.unique(expected)) > 2


def test_the_summary_of_older_ais_bench_is_among_the_outputs(compile_om, run_shown, tmp_path):
    om = compile_om(WINDOW, 1)
    ports = ModelPorts("image", "class", (1, *WINDOW), (2, *WINDOW))
    cases = volumes()[:1]
    settings = {"TOOL_DOUBLE_AIS_BENCH": "2022"}
    back, _ = exchange_through("ais_bench", om, tmp_path / "exchange", cases, ports, run_shown, **settings)
    assert back.read_times().source == "output/run/sumary.json"
