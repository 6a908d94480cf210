"""Mutated files of text: parameters, records, manifests, journals, plans, outputs of tools, archives.

Each is read, or refused by an error of the project in one line; an exception of any other kind fails the test.
"""

from __future__ import annotations

import functools
import io
import json
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers import recipes
from helpers.cli.rerun import rerun
from helpers.compile.atc import _explain_failure
from helpers.compile.magicmind import parse_throughput
from helpers.compile.npu_smi import parse_board, parse_info
from helpers.data.nnunet.cases import list_cases, training_ids
from helpers.data.nnunet.model_folder import _read_json
from helpers.data.nnunet.plan import Plan, plan_from_v2
from helpers.errors import CookbookError
from helpers.fetch.archive import unpack
from helpers.inference import WindowPlan
from helpers.interop.bundle import Bundle, BundleCase, BundleModel, read_bundle, save_array
from helpers.interop.exchange import Exchange
from helpers.interop.ports import ModelPorts
from helpers.interop.tool import tool_named
from helpers.params.yaml_file import read_yaml_mapping
from helpers.qa.finished import list_runs
from helpers.qa.journal import Journal, read_verdicts
from helpers.report import write_report
from helpers.run import read_record, read_run_status
from helpers.run.environment import describe_environment
from tests.compile.test_atc_run import REPORT
from tests.compile.test_npu_smi import BUSY_DUO
from tests.data.nnunet_plan_files import v2_dataset, v2_plans
from tests.fuzz.mutations import mutate

PARAMETERS = b"""\
batch_size: 2
checkpoint: demo
cases: [case_1, "0002"]
minimum_scores: {Dice: 0.8, IoU: 0.7}
parity_tolerance: 1.0e-4
atc: {keep_f32: [a, b], timeout_s: 60.0, soc_version: Ascend310P3}
precision: f16_weights
study_batches: [1, 4]
grey_window: mr
"""
RUN = {
    "params": recipes.load("unet_carvana").prepare_params(cases=["a"]).model_dump(mode="json"),
    "environment": describe_environment(),
    "status": "passed",
    "reason": "",
    "started": 1.0e9,
    "ended": 1.1e9,
    "heartbeat": 1.1e9,
    "pid": 1,
    "host": "h",
    "title": "UNet / Carvana",
    "labels": {"names": ["background", "car"], "values": [0, 255]},
    "score_names": ["IoU", "Dice"],
    "stages": {
        "data": {
            **{"stage": "data", "title": "Data", "status": "made", "seconds": 1.5, "ended": 1.0e9, "files": []},
            **{
                "bytes": 1,
                "checks": [{"name": "readable", "passed": True, "figure": "1 of 1"}],
                "facts": {"cases": 1},
            },
            **{"values": {"cases": ["a"]}, "timings": {"read": 0.5}, "next_step": "", "simulated": False},
        },
        "score": {
            **{"stage": "score", "title": "Scores", "status": "made", "seconds": 0.5, "ended": 1.05e9, "files": []},
            **{"bytes": 1, "checks": [], "facts": {"Dice": 0.9}, "timings": {}, "next_step": "", "simulated": False},
            "values": {"cases": {"a": {"IoU": 0.8, "Dice": 0.9}}, "mean": {"IoU": 0.8, "Dice": None}},
        },
    },
}
METRICS = {"cases": {"a": {"IoU": 0.8, "Dice": 0.9}}, "mean": {"IoU": 0.8, "Dice": 0.9}}
PORTS = ModelPorts("image", "scores", (1, 8, 8), (2, 8, 8))
SUMMARY = {"NPU_compute_time": {"min": 1.0, "max": 2.5, "mean": 1.5, "median": 1.5}, "throughput": 666.7}
MSAME = b"Inference time: 1.5 ms\nInference average time without first time: 1.25 ms\n"
BENCHMARK = b"[read] throughputRate: 1.5\n[infer] Interface throughputRate: 66.7, moduleLateny: 1.5\n"


def refuses(read: Callable[[], object], tries) -> None:
    """Runs a reading; only errors of the project are allowed, and each is one line."""
    try:
        read()
        tries.count("accepted")
    except CookbookError as error:
        assert "\n" not in error.line()
        tries.count("refused")


@functools.cache
def as_json(name: str) -> bytes:
    return json.dumps({"run": RUN, "metrics": METRICS, "summary": SUMMARY}[name], indent=1).encode()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_fuzz_parameters(tries, tmp_path):
    recipe = recipes.load("unet_carvana")
    for source in tries:
        path = write(tmp_path / "mine.yaml", mutate(PARAMETERS, source))
        refuses(lambda path=path: recipe.prepare_params(**read_yaml_mapping(path)), tries)


def test_fuzz_run_records(tries, tmp_path):
    folder = tmp_path / "unet_carvana" / "demo-0"
    for source in tries:
        path = write(folder / "run.json", mutate(as_json("run"), source))
        read_run_status(path)
        runs = list_runs(tmp_path, "unet_carvana")
        assert len(runs) <= 1
        refuses(lambda: read_record(folder), tries)
        refuses(lambda: write_report(folder), tries)


def test_fuzz_records_to_repeat(tries, tmp_path, monkeypatch):
    """Up to the notebook, which runs with the parameters of the record."""
    folder = tmp_path / "unet_carvana" / "demo-0"
    monkeypatch.setattr("helpers.cli.rerun.run_notebook", lambda recipe, given: folder)
    for source in tries:
        write(folder / "run.json", mutate(as_json("run"), source))
        refuses(lambda: rerun(folder, str(tmp_path / "again")), tries)


def test_fuzz_metrics(tries, tmp_path):
    folder = tmp_path / "unet_carvana" / "demo-0"
    write(folder / "run.json", as_json("run"))
    for source in tries:
        write(folder / "metrics.json", mutate(as_json("metrics"), source))
        (run,) = list_runs(tmp_path, "unet_carvana")
        refuses(lambda run=run: run.scores, tries)


@pytest.fixture
def bundle(tmp_path) -> Path:
    folder = tmp_path / "bundle"
    write(folder / "model.onnx", b"graph")
    write(folder / "compiled/model.om", b"model")
    case = BundleCase("case_1", "cases/0000.npy", WindowPlan((1, 8, 8), 2, mirror_axes=(0,)), "d" * 8)
    save_array(folder / case.image, np.zeros((1, 1, 8, 8), np.float32))
    save_array(folder / case.answer, np.zeros((1, 8, 8), np.uint8))
    target = {"name": "ascend310p3", "runtime": "ascend", "device": "0", "needs": "CANN", "title": "Ascend 310P3"}
    made = Bundle(folder, "unet_carvana", {"batch_size": 1}, {"input_name": "image"}, PORTS, (case,))
    made = made.with_files("model.onnx", "compiled/model.om", case.image, case.answer)
    model = BundleModel(target, "f16", (1, 4), ("compiled/model.om",))
    made.with_files(model=model, notes={case.answer: {"seconds": 1.5, "image": "d"}}).write()
    return folder


def test_fuzz_bundles(tries, bundle):
    intact = (bundle / "bundle.json").read_bytes()

    def read() -> None:
        opened = read_bundle(bundle)
        for case in opened.cases:
            opened.load(case.image)
            opened.checked(case.answer)
        for name in opened.model.files if opened.model else ():
            opened.checked(name)

    for source in tries:
        write(bundle / "bundle.json", mutate(intact, source))
        refuses(read, tries)


def test_fuzz_exchanges(tries, tmp_path):
    image = np.arange(4 * 64, dtype=np.float32).reshape(1, 4, 8, 8)
    Exchange(tmp_path, "msame", PORTS).write([("case_1", image, WindowPlan((8, 8), 2))])
    intact = (tmp_path / "exchange.json").read_bytes()

    def read() -> None:
        exchange = Exchange(tmp_path, "msame", PORTS)
        if exchange.is_written:
            exchange.missing()
            exchange.shown_commands("model.om")
            for case_id in exchange.case_ids:
                exchange.predictor(case_id)

    for source in tries:
        write(tmp_path / "exchange.json", mutate(intact, source))
        refuses(read, tries)


def test_fuzz_journals(tries, tmp_path):
    journal = Journal(tmp_path, "reader")
    for note in ("plain", "accents é 左心房", ""):
        journal.append("unet_carvana", "0a1b2c3d", "case_1", "f" * 64, "accept", note)
    (path,) = (tmp_path / ".qa").glob("*.jsonl")
    intact = path.read_bytes()

    def read() -> None:
        from helpers.qa.journal import export_rejected, export_verdicts

        verdicts = read_verdicts(tmp_path)
        verdicts.latest()
        export_verdicts(verdicts, tmp_path / "qa.csv")
        export_rejected(verdicts, tmp_path / "rejected.csv")

    for source in tries:
        path.write_bytes(mutate(intact, source))
        refuses(read, tries)


def read_plan(folder: Path) -> Plan:
    plans, dataset = _read_json(folder / "plans.json"), _read_json(folder / "dataset.json")
    return plan_from_v2(plans, dataset, "3d_fullres")


def test_fuzz_nnunet_folders(tries, tmp_path):
    folder, data = tmp_path / "model", tmp_path / "Dataset003_Liver"
    plans = json.dumps(v2_plans(), indent=1).encode()
    dataset = v2_dataset() | {"training": [{"image": "./imagesTr/liver_1.nii.gz"}]}
    listed = json.dumps(dataset, indent=1).encode()
    write(data / "imagesTr" / "liver_1_0000.nii.gz", b"")
    for source in tries:
        of_plans = source.random() < 0.5
        write(folder / "plans.json", mutate(plans, source) if of_plans else plans)
        write(folder / "dataset.json", listed if of_plans else mutate(listed, source))
        write(data / "dataset.json", mutate(listed, source))
        refuses(lambda: read_plan(folder), tries)
        refuses(lambda: training_ids(data), tries)
        refuses(lambda: list_cases(data), tries)


def test_fuzz_outputs_of_tools(tries, tmp_path):
    def read(name: str, content: bytes) -> None:
        text = content.decode("utf-8", "replace")
        if name == "npu-smi":
            for device in parse_info(text):
                str(device)
            parse_board(text)
        elif name == "atc":
            assert isinstance(_explain_failure(text, 1, "model.log"), CookbookError)
        elif name == "mm_run":
            assert 0 < parse_throughput(text) < float("inf")
        else:
            times = tool_named(name).read_times(tmp_path, PORTS)
            assert times is None or 0 < times.ms_per_batch < float("inf"), times

    kinds = {
        "npu-smi": (BUSY_DUO.encode(), None),
        "atc": (REPORT.encode(), None),
        "mm_run": (b"Throughput (qps): 144.81\nLatency: 1.5 ms\n", None),
        "ais_bench": (as_json("summary"), "output/run_summary.json"),
        "msame": (MSAME, "msame.log"),
        "benchmark": (BENCHMARK, "result/perf_vision_batchsize_1_device_0.txt"),
    }
    for source in tries:
        for name, (intact, file) in kinds.items():
            content = mutate(intact, source)
            if file:
                write(tmp_path / file, content)
            refuses(lambda name=name, content=content: read(name, content), tries)


@functools.cache
def archive(kind: str) -> bytes:
    stream = io.BytesIO()
    members = {"set/a.txt": b"a" * 700, "set/b/c.bin": bytes(range(256)), "set/" + "n" * 120: b"long"}
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as opened:
            for name, content in members.items():
                opened.writestr(name, content)
        return stream.getvalue()
    with tarfile.open(fileobj=stream, mode=f"w:{kind.partition('.')[2]}", format=tarfile.GNU_FORMAT) as opened:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def test_fuzz_archives(tries, tmp_path):
    """What is unpacked lies inside the folder, and a compressed archive whose checksum holds gives the same bytes."""
    for source in tries:
        kind = source.choice(("zip", "tar", "tar.gz", "tar.bz2", "tar.xz"))
        path, target = write(tmp_path / f"set.{kind}", mutate(archive(kind), source)), tmp_path / "inner" / "set"
        refuses(lambda path=path, target=target: unpack(path, target), tries)
        assert {entry.name for entry in tmp_path.iterdir()} <= {path.name, "inner"}
        assert target.exists() or not any((tmp_path / "inner").glob("*")), "half-written"
        shutil.rmtree(tmp_path / "inner", ignore_errors=True)
        path.unlink()


def test_the_intact_files_are_accepted(bundle, tmp_path):
    """A mutated file must not be refused for what the intact one has already."""
    folder = tmp_path / "unet_carvana" / "demo-0"
    write(folder / "run.json", as_json("run"))
    write(folder / "metrics.json", as_json("metrics"))
    (run,) = list_runs(tmp_path, "unet_carvana")
    assert run.scores == METRICS["cases"]
    assert write_report(folder).is_file()
    assert read_bundle(bundle).cases[0].plan == WindowPlan((1, 8, 8), 2, mirror_axes=(0,))
    assert [device.npu for device in parse_info(BUSY_DUO)]
    write(tmp_path / "mine.yaml", PARAMETERS)
    recipes.load("unet_carvana").prepare_params(**read_yaml_mapping(tmp_path / "mine.yaml"))
    write(tmp_path / "plans.json", json.dumps(v2_plans()).encode())
    write(tmp_path / "dataset.json", json.dumps(v2_dataset()).encode())
    assert read_plan(tmp_path).patch_size == (32, 48, 40)
    for kind in ("zip", "tar", "tar.gz", "tar.bz2", "tar.xz"):
        assert unpack(write(tmp_path / f"set.{kind}", archive(kind)), tmp_path / kind / "set").n_files == 3
    assert random.Random(3).random() == random.Random(3).random()
