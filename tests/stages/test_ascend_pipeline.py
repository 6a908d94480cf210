"""Runs on the strict double of CANN: releases, layouts, batches and gears give the CPU's masks without fault."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.data.volume import read_volume
from helpers.errors import CookbookError
from helpers.stages.artifact import read_manifest

DOUBLE = Path(__file__).parents[1] / "doubles" / "cann"
QUICK = {"simplify_timeout_s": 0.001, "cases": ["case_1"]}


@pytest.fixture
def npu(tiny, run_pipeline, tmp_path, monkeypatch):
    """Runs the pipeline in another interpreter with CANN: `npu(target, switches, **params)` and its reports."""
    python = tmp_path / "python-with-acl"
    python.write_text(
        f'#!/bin/sh\nexport PYTHONPATH="{DOUBLE / "python"}"\nexec "{sys.executable}" "$@"\n', encoding="utf-8"
    )
    python.chmod(0o755)
    monkeypatch.setenv("PATH", f"{DOUBLE / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("CANN_DOUBLE_PYTHON", sys.executable)
    monkeypatch.setenv("CANN_DOUBLE_REPORT", f"{tmp_path}/acl-%p.json")
    monkeypatch.setenv("CANN_DOUBLE_FP16", "1")

    def go(target: str, switches: dict[str, str], **given):
        for name, value in switches.items():
            monkeypatch.setenv(f"CANN_DOUBLE_{name}", value)
        path = tiny.folder / "params" / "targets" / f"{target}.yaml"
        before = path.read_text(encoding="utf-8")
        path.write_text(f"{before}python: {python}\n", encoding="utf-8")
        try:
            done = run_pipeline(tmp_path / "outputs", target=target, **{**QUICK, **given})
        finally:
            path.write_text(before, encoding="utf-8")
        return done, [json.loads(report.read_text(encoding="utf-8")) for report in tmp_path.glob("acl-*.json")]

    return go


@pytest.fixture(scope="module")
def cpu_mask(run_pipeline, tmp_path_factory) -> np.ndarray:
    """Of the embedded default."""
    return _mask(run_pipeline(tmp_path_factory.mktemp("cpu"), until="infer", **QUICK))


def _mask(done) -> np.ndarray:
    return read_volume(done.run.path("masks/case_1.nii.gz")).array


@pytest.mark.parametrize(
    ("target", "switches", "given"),
    [
        ("ascend310", {"SOC": "Ascend310", "CANN": "5", "ATC_STYLE": "old"}, {}),
        ("ascend310p3", {"SMI": "duo", "CANN": "6", "OM_SUFFIX": "_linux_x86_64"}, {"batch_size": 3}),
        ("ascend910b", {"SOC": "Ascend910B2", "SMI": "910b"}, {"batch_size": 3, "batch_gears": [1, 2, 4]}),
        pytest.param(
            "ascend310b1",
            {"SOC": "Ascend310B1", "CANN": "7", "RUN_MODE": "0"},
            {"batch_size": 2, "dynamic_batch": False},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "ascend",
            {"SMI": "310p"},
            {"atc": {"f16_input": True, "output_type": "FP16", "out_nodes": ["class"]}},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "ascend",
            {"SOC": "Ascend910_9391", "SMI": "a3"},
            {"atc": {"soc_version": "Ascend910_9391"}},
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_the_mask_equals_the_cpus_and_the_device_is_used_correctly(npu, cpu_mask, target, switches, given):
    done, reports = npu(target, switches, **given)
    manifest = read_manifest(done.run)
    assert (manifest.target, manifest.precision, manifest.is_fallback) == (target, "f16", False)
    assert list(manifest.batches) == given.get("batch_gears", [given.get("batch_size", 1)])
    assert np.count_nonzero(_mask(done) != cpu_mask) <= 2
    assert 1e-6 < done.made["parity"].values["device"]["largest"] < 5e-3  # float16 was at work
    assert reports and all(report["ok"] for report in reports)
    assert json.loads(done.run.path("run.json").read_text(encoding="utf-8"))["reason"] == ""
    _assert_times_are_called_simulated(done)


def _assert_times_are_called_simulated(done) -> None:
    recorded = json.loads(done.run.path("run.json").read_text(encoding="utf-8"))["stages"]
    of_double = {name for name, stage in recorded.items() if stage["simulated"]}
    assert {"compile", "parity", "infer/case_1"} <= of_double <= {"compile", "parity", "infer/case_1", "source_score"}
    summary = str(done.made["finish"]).splitlines()
    assert all(f"{recorded[name]['seconds']:.1f} simulated" in "\n".join(summary) for name in of_double)
    page = done.run.path("report.html").read_text(encoding="utf-8")
    assert f"{recorded['infer/case_1']['timings']['infer']:.2f} simulated" in page


def test_an_om_for_another_chip_fails_with_one_explained_line(npu, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    with pytest.raises(CookbookError) as refusal:
        npu("ascend310", {"SOC": "Ascend310P3"})
    assert "The .om is for another kind of device" in refusal.value.line() and "\n" not in refusal.value.line()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("execute@1:*:507011", "device 1 failed: its batch was run again on device 0"),
        ("load@0:*:500002", "device 0 is left out (AclError: acl.mdl.load_from_file returned 500002"),
    ],
)
def test_a_failing_chip_of_two_is_reported_with_the_mask_that_the_other_computed(npu, cpu_mask, fault, message):
    done, reports = npu("ascend310p3", {"FAIL": fault, "LATENCY_MS": "5"}, devices="all")
    assert np.count_nonzero(_mask(done) != cpu_mask) <= 2
    assert reports and all(report["ok"] for report in reports)
    stages = json.loads(done.run.path("run.json").read_text(encoding="utf-8"))["stages"]
    assert message in stages["infer/case_1"]["facts"]["recovered errors"]
