"""A MagicMind model equals ONNX Runtime in every batch size, layout and precision, and leaves a clean report."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from helpers.devices import open_device
from helpers.errors import DeviceError
from helpers.graph.read import run_reference
from helpers.params.targets import load_target
from tests.compile.magicmind_graphs import (
    ClassMap,
    build,
    calibration,
    error_of,
    make_graph,
    make_torchscript,
    sample,
)

# Largest error of the double as a fraction of the range; a real MLU is not better.
LIMITS = {"f32": (0.0, 5e-6), "f16": (1e-5, 2e-3), "qint8_mixed_float16": (1e-3, 5e-2)}


def _open(path, double, **options):
    target = load_target("mlu370").model_copy(update={"python": double.python})
    return open_device(path, target, **options)


@pytest.mark.parametrize(
    ("precision", "shape_mutable"), [("f32", True), ("f16", False), ("qint8_mixed_float16", True)]
)
def test_each_precision_is_within_its_rounding(precision, shape_mutable, tmp_path, magicmind_double):
    graph, spec = make_graph(tmp_path, batch_size=4)
    windows = calibration(tmp_path) if precision.startswith("qint") else None
    path = build(graph, spec, magicmind_double, precision=precision, shape_mutable=shape_mutable, calibration=windows)
    with _open(path, magicmind_double, precision=precision) as device:
        assert device.simulated is True
        for batch in (1, 4):
            error = error_of(device.infer({"image": sample(batch)})["scores"], graph, sample(batch))
            assert LIMITS[precision][0] <= error <= LIMITS[precision][1]
    magicmind_double.assert_clean()


@pytest.mark.slow  # the double imports torch
def test_torchscript_and_onnx_agree(tmp_path, magicmind_double):
    graph, spec = make_graph(tmp_path)
    path = build(make_torchscript(tmp_path, spec), spec, magicmind_double)
    with _open(path, magicmind_double) as device:
        assert error_of(device.infer({"image": sample(3)})["scores"], graph, sample(3)) < 5e-6
    magicmind_double.assert_clean()


def test_the_graphs_layout_may_be_kept(tmp_path, magicmind_double):
    graph, spec = make_graph(tmp_path)
    keep = {f"convert_{side}_layout": {"0": {"src": "NCHW", "dst": "NCHW"}} for side in ("input", "output")}
    with _open(build(graph, spec, magicmind_double, given=keep), magicmind_double) as device:
        assert error_of(device.infer({"image": sample(2)})["scores"], graph, sample(2)) < 5e-6
    magicmind_double.assert_clean()


def test_classes_without_a_channel_axis(tmp_path, magicmind_double):
    graph, spec = make_graph(tmp_path, network=ClassMap)
    path = build(graph, spec, magicmind_double, output_rank=3, output_shape=(None, 12, 10))
    with _open(path, magicmind_double) as device:
        answer = device.infer({"image": sample(2)})["scores"]
    assert answer.dtype == np.int32
    assert np.array_equal(answer, run_reference(graph, {"image": sample(2)})["scores"])


def test_a_mutable_model_accepts_its_range_and_a_static_one_pads(tmp_path, magicmind_double):
    graph, spec = make_graph(tmp_path, batch_size=4)
    with _open(build(graph, spec, magicmind_double), magicmind_double) as device:
        assert device.batches == tuple(range(1, 65))
        with pytest.raises(DeviceError, match="1 to 64"):
            device.submit({"image": sample(65)})
    with _open(build(graph, spec, magicmind_double, shape_mutable=False), magicmind_double) as device:
        assert device.batches == (4,)
        assert device.infer({"image": sample(1)})["scores"].shape[0] == 1
        with pytest.raises(DeviceError, match="1 to 4"):
            device.submit({"image": sample(5)})
    magicmind_double.assert_clean()


@pytest.mark.parametrize("device_id", [0, 1])
def test_calls_in_flight_keep_their_outputs_apart_on_the_named_device(device_id, tmp_path, magicmind_double):
    graph, spec = make_graph(tmp_path)
    path = build(graph, spec, magicmind_double)
    inputs = [sample(1 + seed % 3, seed) for seed in range(12)]
    with _open(path, magicmind_double, max_in_flight=3, device_id=device_id) as device:
        answers = [future.result()["scores"] for future in [device.submit({"image": x}) for x in inputs]]
    assert all(error_of(answer, graph, x) < 5e-6 for x, answer in zip(inputs, answers, strict=True))
    magicmind_double.assert_clean()
    assert [report["executes"] for report in magicmind_double.read_reports() if report["executes"]] == [
        {str(device_id): 12}
    ]


def test_several_mlus_are_a_pool(tmp_path, magicmind_double, monkeypatch):
    monkeypatch.setenv("MM_DOUBLE_LATENCY_MS", "100")  # long enough that one chip cannot take every batch
    graph, spec = make_graph(tmp_path)
    inputs = [sample(1 + seed % 3, seed) for seed in range(12)]
    with _open(build(graph, spec, magicmind_double), magicmind_double, devices="all") as device:
        answers = [future.result()["scores"] for future in [device.submit({"image": x}) for x in inputs]]
        assert not device.recovered_errors()
    assert all(error_of(answer, graph, x) < 5e-6 for x, answer in zip(inputs, answers, strict=True))
    magicmind_double.assert_clean()
    executes = [report["executes"] for report in magicmind_double.read_reports() if report["executes"]]
    assert sorted(key for report in executes for key in report) == ["0", "1"]
    assert sum(count for report in executes for count in report.values()) == 12


def test_the_steps_of_a_call_are_timed(tmp_path, magicmind_double):
    graph, spec = make_graph(tmp_path)
    with _open(build(graph, spec, magicmind_double), magicmind_double) as device:
        device.infer({"image": sample(2)})
        (timing,) = device.timings()
    assert timing.samples == 2
    assert 0 < timing.h2d_s + timing.execute_s + timing.d2h_s <= timing.call_s


def test_in_this_process_if_magicmind_is_on_its_own_path(tmp_path, magicmind_double, monkeypatch):
    folder = magicmind_double.bin.parent / "python"
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", f"/ours:{folder}")
    graph, spec = make_graph(tmp_path)
    path = build(graph, spec, magicmind_double, python=sys.executable)
    before = set(sys.modules)
    try:
        with open_device(path, load_target("mlu370")) as device:
            assert error_of(device.infer({"image": sample(2)})["scores"], graph, sample(2)) < 5e-6
        assert sys.modules["magicmind.python._core"].R.violations == []
    finally:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "magicmind":
                del sys.modules[name]


class TestRefusals:
    """In one line, with a clean report."""

    @pytest.fixture
    def path(self, tmp_path, magicmind_double):
        graph, spec = make_graph(tmp_path)
        return build(graph, spec, magicmind_double, precision="f16")

    def test_another_precision_than_the_model_was_built_for(self, path, magicmind_double):
        with pytest.raises(DeviceError, match="built for force_float16; asked for force_float32"):
            _open(path, magicmind_double, precision="f32")

    @pytest.mark.parametrize("device_id", [2, -1])
    def test_a_missing_device(self, device_id, path, magicmind_double):
        with pytest.raises(DeviceError, match=f"no MLU {device_id}; 2 found"):
            _open(path, magicmind_double, device_id=device_id)
        magicmind_double.assert_clean()

    def test_a_file_that_is_not_a_model(self, path, magicmind_double):
        path.write_bytes(b"junk")
        with pytest.raises(DeviceError, match="reading the model"):
            _open(path, magicmind_double)
        magicmind_double.assert_clean()

    def test_a_model_without_its_interface(self, path, magicmind_double):
        path.with_suffix(".json").unlink()
        with pytest.raises(DeviceError, match=r"built\.json"):
            _open(path, magicmind_double)

    def test_a_model_of_another_layout_than_its_interface_says(self, path, magicmind_double):
        interface = path.with_suffix(".json")
        interface.write_text(interface.read_text(encoding="utf-8").replace('"NHWC"', '"NCHW"'), encoding="utf-8")
        with pytest.raises(DeviceError, match="its interface file says"):
            _open(path, magicmind_double)
        magicmind_double.assert_clean()

    def test_an_interpreter_without_magicmind(self, path):
        target = load_target("mlu370").model_copy(update={"python": sys.executable})
        with pytest.raises(DeviceError, match="No module named 'magicmind'"):
            open_device(path, target)
