"""The tools' output files, written by hand from their documentation, and files that must not count as outputs."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.errors import DeviceError, ResourceError
from helpers.inference import WindowPlan, as_predictor, infer_job
from helpers.interop.exchange import Exchange, ExchangeBytes, check_room
from helpers.interop.ports import ModelPorts
from helpers.interop.samples import SampleReplay
from helpers.interop.tool import tool_named

PORTS = ModelPorts("image", "class", (1, 4, 4, 4), (2, 4, 4, 4), batch_size=2)
PLAN = WindowPlan((4, 4, 4), 2)
IMAGE = np.random.default_rng(0).standard_normal((1, 4, 4, 8), dtype=np.float32)
STEMS = ["w0000000-aa", "w0000001-bb"]


def scores(batch: np.ndarray) -> np.ndarray:
    return np.concatenate([batch, -batch], axis=1)


@pytest.fixture
def exchange(tmp_path):
    """Three windows of one case, written for ais_bench."""
    made = Exchange(tmp_path, "ais_bench", PORTS)
    made.write([("case", IMAGE, PLAN)])
    return made


def answer(exchange: Exchange, folder: str = "output/run") -> None:
    """The output that a correct tool would leave."""
    place = exchange.folder / folder
    place.mkdir(parents=True, exist_ok=True)
    for path in (exchange.folder / "input").iterdir():
        sample = np.fromfile(path, np.float32).reshape(1, 1, 4, 4, 4)
        scores(sample).tofile(place / f"{path.stem}_0.bin")


class TestPlaces:
    @pytest.mark.parametrize("folder", ["output/run", "output/2024_01_31-12_00_00", "output/run/device0"])
    def test_ais_bench(self, exchange, folder):
        assert exchange.missing() == 3
        answer(exchange, folder)
        assert exchange.missing() == 0
        expected = infer_job(IMAGE, as_predictor(scores), PLAN)
        assert np.array_equal(infer_job(IMAGE, exchange.predictor("case"), PLAN), expected)

    def test_of_two_msame_runs_the_later_complete_one_counts(self, tmp_path):
        # The later name sorts first: msame pads neither days nor hours.
        for name, when, stems in (("2021129_9_1_1_5", 1, STEMS), ("20211210_1_1_1_5", 2, STEMS), ("z", 3, STEMS[:1])):
            folder = tmp_path / "output" / name
            folder.mkdir(parents=True)
            for stem in stems:
                (folder / f"{stem}_output_0.bin").touch()
            os.utime(folder, (when, when))
        found = tool_named("msame").find_outputs(tmp_path, STEMS, PORTS)
        assert {path.parent.name for path in found.values()} == {"20211210_1_1_1_5"} and len(found) == 2

    def test_benchmark_counts_outputs_from_one(self, tmp_path):
        for device, stem in enumerate(STEMS):
            folder = tmp_path / "result" / f"dumpOutput_device{device}"
            folder.mkdir(parents=True)
            for index in range(1, 6):
                (folder / f"{stem}_{index}.bin").touch()
        found = tool_named("benchmark").find_outputs(tmp_path, STEMS, PORTS)
        assert [found[stem].name for stem in STEMS] == [f"{stem}_1.bin" for stem in STEMS]

    def test_benchmark_run_twice_with_one_list_is_refused(self, tmp_path):
        for device in (0, 1):
            (tmp_path / "result" / f"dumpOutput_device{device}").mkdir(parents=True)
            (tmp_path / "result" / f"dumpOutput_device{device}" / f"{STEMS[0]}_1.bin").touch()
        with pytest.raises(DeviceError, match="two devices answered the same input"):
            tool_named("benchmark").find_outputs(tmp_path, STEMS, PORTS)

    def test_a_list_line_is_index_path_width_height(self, tmp_path):
        ports = ModelPorts("input", "output", (3, 500, 400), (1, 500, 400), True, batch_size=16)
        tool_named("benchmark").write_lists(tmp_path, STEMS, ports, 1)
        assert (tmp_path / "device0.info").read_text(encoding="utf-8") == (
            "0 input/w0000000-aa.bin 400 500\n1 input/w0000001-bb.bin 400 500\n"
        )


class TestTimes:
    def test_msame_prints_times_per_batch(self, tmp_path):
        (tmp_path / "msame.log").write_text(
            "Inference time: 93.14ms\nInference time: 93.2ms\nInference average time : 93.17 ms\n"
            "Inference average time without first time: 93.20 ms\n[INFO] end to finalize acl\n",
            encoding="utf-8",
        )
        times = tool_named("msame").read_times(tmp_path, PORTS)
        assert (times.ms_per_batch, times.samples_per_second) == (93.2, pytest.approx(2000 / 93.2))

    @pytest.mark.parametrize("tag", ["[infer]", "[inference]"])
    def test_benchmark_counts_the_interface(self, tmp_path, tag):
        (tmp_path / "result").mkdir()
        (tmp_path / "result" / "perf_vision_batchsize_16_device_1.txt").write_text(
            "[e2e] throughputRate: 13.459, latency: 107660\n"
            "[data read] throughputRate: 14.2, moduleLatency: 70\n[preprocess] throughputRate: 1, moduleLatency: 7\n"
            f"{tag} throughputRate: 14.3682, Interface throughputRate: 15.4271, moduleLatency: 69.2286\n"
            "[post] throughputRate: 0.850975, moduleLatency: 1175.12\n",
            encoding="utf-8",
        )
        assert tool_named("benchmark").read_times(tmp_path, PORTS).samples_per_second == 15.4271

    def test_benchmark_pure(self, tmp_path):
        (tmp_path / "result").mkdir()
        (tmp_path / "result" / "PureInfer_perf_of_fcn_bs1_in_device_0.txt").write_text(
            "[INFO] ave_throughputRate: 16.2574samples/s, ave_latency: 61.5162ms\n", encoding="utf-8"
        )
        times = tool_named("benchmark").read_times(tmp_path, PORTS)
        assert times.samples_per_second == 16.2574 and times.ms_per_batch == pytest.approx(2 * 61.5162, rel=1e-3)

    @pytest.mark.parametrize("name", ["run_summary.json", "run/sumary.json"])
    def test_ais_bench_summary_in_both_spellings(self, tmp_path, name):
        path = tmp_path / "output" / name
        path.parent.mkdir(parents=True)
        path.write_text(
            json.dumps({"NPU_compute_time": {"mean": 4.0, "count": 3}, "throughput": 500.0}), encoding="utf-8"
        )
        times = tool_named("ais_bench").read_times(tmp_path, PORTS)
        assert times.samples_per_second == 500.0 and times.source == f"output/{name}"

    def test_without_a_record_there_is_no_time(self, tmp_path):
        for name in ("msame", "benchmark", "ais_bench"):
            assert tool_named(name).read_times(tmp_path, PORTS) is None


def test_several_samples_per_call_are_joined_on_the_batch_axis():
    ports = ModelPorts("i", "o", (1, 4, 4), (1, 4, 4), True, output_batch_axis=1)
    batch = np.arange(32, dtype=np.float32).reshape(2, 1, 4, 4)
    maps = np.arange(32, dtype=np.int32).reshape(1, 2, 4, 4)
    call = SampleReplay(ports, lambda number: maps[:, [number - 7]], 7, [zlib.crc32(sample) for sample in batch])
    assert np.array_equal(call(batch), maps)


class TestRefused:
    def test_outputs_of_other_samples_are_not_found(self, exchange):
        answer(exchange)
        exchange.write([("case", IMAGE + 1, PLAN)])
        assert exchange.missing() == 3

    def test_changed_preprocessing(self, exchange):
        answer(exchange)
        with pytest.raises(DeviceError, match="preprocessing changed"):
            infer_job(IMAGE + 1, exchange.predictor("case"), PLAN)

    def test_other_windows(self, exchange):
        answer(exchange)
        with pytest.raises(DeviceError, match="preprocessing changed"):
            infer_job(IMAGE, exchange.predictor("case"), WindowPlan((4, 4, 4), 2, mirror_axes=(0,)))

    def test_a_truncated_answer(self, exchange):
        answer(exchange)
        path = sorted((exchange.folder / "output" / "run").iterdir())[1]
        path.write_bytes(path.read_bytes()[:-3])
        with pytest.raises(DeviceError, match=rf"{path.name} is truncated or from another model: received 509 bytes"):
            infer_job(IMAGE, exchange.predictor("case"), PLAN)

    def test_a_missing_answer(self, exchange):
        answer(exchange)
        next((exchange.folder / "output" / "run").iterdir()).unlink()
        assert exchange.missing() == 1
        with pytest.raises(DeviceError, match="wrote no output"):
            infer_job(IMAGE, exchange.predictor("case"), PLAN)

    def test_an_interrupted_write_is_not_an_exchange(self, exchange):
        def stop():
            yield "case", IMAGE, PLAN
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            exchange.write(stop())
        assert not Exchange(exchange.folder, "ais_bench", PORTS).is_written

    def test_another_batch_size_needs_another_exchange(self, exchange):
        ports = ModelPorts("image", "class", (1, 4, 4, 4), (2, 4, 4, 4), batch_size=1)
        assert not Exchange(exchange.folder, "ais_bench", ports).is_written
        assert not Exchange(exchange.folder, "msame", PORTS).is_written

    def test_inputs_may_be_removed_once_they_are_answered(self, exchange):
        (exchange.folder / "input" / sorted(os.listdir(exchange.folder / "input"))[0]).unlink()
        assert not Exchange(exchange.folder, "ais_bench", PORTS).is_written
        exchange.write([("case", IMAGE, PLAN)])
        answer(exchange)
        for path in (exchange.folder / "input").iterdir():
            path.unlink()
        assert Exchange(exchange.folder, "ais_bench", PORTS).missing() == 0

    def test_more_than_fits_on_the_disk(self, tmp_path, monkeypatch):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 30))
        need = ExchangeBytes(2744, 2744 * (8 << 20), 2744 * (24 << 20))
        with pytest.raises(ResourceError, match=r"2,744 samples, 21,952\.0 MiB to write .* 65,856\.0 MiB"):
            check_room(need, tmp_path / "not" / "there")


@pytest.mark.parametrize(("integer", "stored", "given"), [
    (False, np.float32, np.float32), (False, np.float16, np.float32),
    (True, np.int64, np.int64), (True, np.int32, np.int32), (True, np.uint8, np.uint8),
])  # fmt: skip
def test_the_size_determines_the_type(integer, stored, given):
    ports = ModelPorts("i", "o", (1, 4, 4), (3, 4, 4), integer, output_batch_axis=1)
    values = np.arange(96).reshape(3, 2, 4, 4).astype(stored)
    read = ports.read_output(values.tobytes(), 2, "file")
    assert read.dtype == given and np.array_equal(read, values)


def test_the_doubles_refuse_unknown_options(compile_om, tmp_path, cann_doubles):
    om = compile_om((4, 4, 4), 2)
    (tmp_path / "half.bin").write_bytes(bytes(4 * 64))
    (tmp_path / "x.info").write_text("0 half.bin 4  4\n", encoding="utf-8")
    wrong = [
        ["msame", "--model", om.name, "--input", "half.bin"],
        ["msame", "--model", om.name, "--batchsize", "2"],
        ["ais_bench", "--model", om.name, "--output_dirname", "run"],
        ["ais_bench", "--model", om.name, "--unknown", "1"],
        ["benchmark.x86_64", f"--om_path={om.name}"],
        ["benchmark.aarch64", f"-om_path={om.name}", "-device_id=0", "-batch_size=1", "-round=2"],
        ["benchmark.x86_64", "-model_type=vision", f"-om_path={om.name}", "-device_id=0", "-batch_size=2",
         "-input_text_path=x.info", "-input_width=4", "-input_height=4", "-useDvpp=false", "-output_binary=true"],
    ]  # fmt: skip
    for command in wrong:
        assert cann_doubles.start(command, tmp_path).returncode != 0, command
