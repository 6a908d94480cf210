"""Complete runs on the strict double of an MLU370: every precision, static and mutable, with the CPU's masks."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from helpers.compile.magicmind import PROGRAM
from helpers.data.volume import read_volume
from helpers.errors import ParameterError
from helpers.stages.artifact import read_manifest

QUICK = {"simplify_timeout_s": 0.001, "cases": ["case_1"]}
# Smallest and largest error of the device as a fraction of the range: below the first it ran in another precision.
ERRORS = {
    "f32": (0, 1e-7),
    "f16": (1e-5, 1e-3),
    "qint8_mixed_float16": (1e-4, 2e-2),
    "qint8_mixed_float32": (1e-4, 2e-2),
    "qint16_mixed_float32": (2e-7, 1e-5),
}


@pytest.fixture
def mlu(tiny, run_pipeline, tmp_path, magicmind_double):
    """Runs the pipeline on the double's interpreter, which the target names."""
    path = tiny.folder / "params" / "targets" / "mlu370.yaml"
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}python: {magicmind_double.python}\n", encoding="utf-8")
    yield lambda **given: run_pipeline(tmp_path / "outputs", target="mlu370", **{**QUICK, **given})
    path.write_text(before, encoding="utf-8")


@pytest.fixture(scope="module")
def cpu_masks(run_pipeline, tmp_path_factory):
    """Of the embedded default."""
    return _masks(run_pipeline(tmp_path_factory.mktemp("cpu"), until="infer", **QUICK))


def _masks(done) -> list[np.ndarray]:
    return [read_volume(path).array for path in sorted(done.run.path("masks").iterdir())]


@pytest.mark.parametrize(
    ("precision", "options"),
    [
        ("f32", {"shape_mutable": True, "batch_size": 4}),
        pytest.param("f16", {"shape_mutable": False, "batch_size": 2}, marks=pytest.mark.slow),
        ("qint8_mixed_float16", {"shape_mutable": True, "batch_size": 1}),
        pytest.param(
            "qint8_mixed_float32",
            {"shape_mutable": False, "batch_size": 3, "compile_from": "torchscript"},
            marks=pytest.mark.slow,
        ),
        pytest.param("qint16_mixed_float32", {"shape_mutable": False, "batch_size": 2}, marks=pytest.mark.slow),
    ],
)
def test_the_masks_equal_the_cpus(precision, options, mlu, cpu_masks, magicmind_double):
    done = mlu(precision=precision, until="infer", **options)
    smallest, largest = ERRORS[precision]
    assert smallest <= done.made["parity"].values["device"]["largest"] <= largest
    for mask, expected in zip(_masks(done), cpu_masks, strict=True):
        assert np.array_equal(mask, expected)
    assert {name for name, result in done.run.results.items() if result.simulated} == {
        "compile",
        "parity",
        "infer/case_1",
    }
    manifest = read_manifest(done.run)
    assert (manifest.target, manifest.precision, manifest.is_fallback) == ("mlu370", precision, False)
    assert manifest.batches == ([1, 2, 3, 4] if options["shape_mutable"] else [options["batch_size"]])
    config = json.loads(done.run.path("compiled/builder_config.json").read_text(encoding="utf-8"))
    assert config["graph_shape_mutable"] is options["shape_mutable"]
    magicmind_double.assert_clean()


@pytest.mark.parametrize(
    ("devices", "says"),
    [
        (2, r"[\d.e+]+ samples/s simulated, 20 iterations at batch 2"),
        pytest.param(0, "mm_run failed: .*", marks=pytest.mark.slow),
    ],
)
def test_the_output_of_mm_run_is_read_if_it_is_installed_and_its_failure_fails_no_model(
    devices, says, mlu, magicmind_double, monkeypatch
):
    monkeypatch.setenv("PATH", f"{magicmind_double.bin}:{os.environ['PATH']}")
    monkeypatch.setenv("MM_DOUBLE_PYTHON", sys.executable)
    monkeypatch.setenv("MM_DOUBLE_DEVICES", str(devices))
    done = mlu(until="compile", batch_size=2)
    assert re.fullmatch(says, done.made["compile"].facts["throughput by mm_run"])
    assert "--iterations 1000" in done.made["compile"].facts["mm_run"]
    assert done.run.path("compiled/model.mm").is_file()


def test_another_configuration_makes_another_model_and_the_same_one_is_reused(mlu):
    first = mlu(until="compile")
    again = mlu(until="compile")
    assert again.made["compile"].status == "reused"
    quantised = [
        mlu(until="compile", precision="qint8_mixed_float16", calibration_windows=count).made["compile"].status
        for count in (1, 2)
    ]
    assert quantised == ["made", "made"]
    other = mlu(until="compile", builder_config={"computation_preference": "fast"})
    assert other.made["compile"].status == "made" and other.run.folder != first.run.folder
    assert '"computation_preference": "fast"' in other.run.path("compiled/builder_config.json").read_text(
        encoding="utf-8"
    )


def test_an_unsuitable_range_ends_the_run_before_the_vendors_compiler_starts(mlu, magicmind_double):
    box = {"0": {"min": [1, 1, 16, 16], "max": [4, 1, 16, 16]}}
    with pytest.raises(ParameterError, match="dim_range"):
        mlu(until="compile", builder_config={"dim_range": box})
    assert not [report for report in magicmind_double.read_reports() if report["calls"].get("parse")]


def test_without_magicmind_its_command_is_shown_and_that_command_builds_the_model(
    run_pipeline, tmp_path, magicmind_double
):
    options = {"precision": "qint8_mixed_float16", "batch_size": 2, "calibration_seeds": [11, 12]}
    done = run_pipeline(tmp_path, target="mlu370", until="infer", **options, **QUICK)
    shown = done.made["compile"]
    assert shown.status == "not run here" and read_manifest(done.run).target == "cpu"
    assert not list(done.run.folder.rglob("*.mm"))
    assert "--input_dims 2,16,16,16,1" in shown.facts["mm_run"]

    shutil.copy(PROGRAM, done.run.folder)
    command = shlex.split(shown.facts["magicmind"])
    command[0] = magicmind_double.python
    subprocess.run(command, cwd=done.run.folder, check=True, timeout=60)
    answer = json.loads(done.run.path("built.json").read_text(encoding="utf-8"))
    assert answer["samples"] == 6  # three windows of each of two cases
    assert answer["inputs"] == [["image", [-1, 16, 16, 16, 1], "float32"]]
    assert done.run.path("compiled/model.mm").stat().st_size > 0
    magicmind_double.assert_clean()
