"""The heart on the strict double of an MLU370: its notebook, and every precision, static and mutable.

The tolerance of a mask is the share of the CPU mask's foreground that may differ; the double rounds as the precision
does, and quantises weights alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from helpers import stages
from helpers.data.volume import read_volume
from helpers.run import read_run_status
from tests.conftest import MAGICMIND

pytestmark = pytest.mark.slow

TOLERANCES = {"f32": 1e-4, "f16": 1e-3, "qint8_mixed_float16": 5e-3}
CASE = {"cases": ["la_9001"], "mirror_axes": []}


@pytest.fixture(scope="module")
def mlu(tmp_path_factory):
    """MagicMind's double on our own path, with reports; the folder for runs."""
    root = tmp_path_factory.mktemp("heart")
    (root / "reports").mkdir()
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(MAGICMIND / "python")
        patch.setenv("PYTHONPATH", os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(MAGICMIND / "python")]))
        patch.setenv("MM_DOUBLE_REPORT", f"{root}/reports/%p.json")
        yield root
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "magicmind":
            del sys.modules[name]


def _run_pipeline(root, **given):
    recipe, run = stages.start_run("nnunet_heart", {"outputs": str(root / "outputs"), **CASE, **given})
    for step in (stages.prepare_data, stages.export_onnx, stages.simplify_onnx, stages.apply_surgery):
        step(recipe, run)
    stages.compile_model(recipe, run)
    stages.check_model_parity(recipe, run)
    stages.infer_cases(recipe, run)
    run.record.end("passed")
    return read_volume(run.path("masks/la_9001.nii.gz")).array[0] > 0


@pytest.fixture(scope="module")
def cpu_mask(mlu):
    return _run_pipeline(mlu, profile="cpu")


@pytest.mark.parametrize(
    ("profile", "precision", "shape_mutable", "batch_size"),
    [
        ("mlu370", "f32", True, 4),
        ("mlu370", "f32", False, 16),
        ("mlu370_f16", "f16", True, 1),
        ("mlu370_f16", "f16", False, 4),
        ("mlu370_qint8", "qint8_mixed_float16", True, 16),
        ("mlu370_qint8", "qint8_mixed_float16", False, 1),
    ],
)
def test_the_mask_equals_the_cpus_within_the_tolerance(profile, precision, shape_mutable, batch_size, mlu, cpu_mask):
    mask = _run_pipeline(mlu, profile=profile, shape_mutable=shape_mutable, batch_size=batch_size)
    differ = np.count_nonzero(mask != cpu_mask)
    assert differ <= TOLERANCES[precision] * np.count_nonzero(cpu_mask)
    assert sys.modules["magicmind.python._core"].R.violations == []
    assert all(json.loads(path.read_text(encoding="utf-8"))["ok"] for path in (mlu / "reports").glob("*.json"))


def test_the_notebook_passes_in_int8_and_the_double_is_used_correctly(mlu):
    before = set((mlu / "reports").glob("*.json"))
    given = {"profile": "mlu370_qint8", "cases": "la_9001", "source_cases": "1", "outputs": str(mlu / "notebook")}
    options = [part for name, value in given.items() for part in ("-p", name, value)]
    command = [sys.executable, "-m", "helpers", "run", "nnunet_heart", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    (run,) = (mlu / "notebook" / "nnunet_heart").glob("mlu370_qint8-*")
    assert read_run_status(run / "run.json") == ("passed", "")
    ran = json.loads((run / "run.json").read_text(encoding="utf-8"))["stages"]
    assert ran["compile"]["status"] == "made" and ran["calibration"]["status"] == "made"
    reports = [
        json.loads(path.read_text(encoding="utf-8")) for path in set((mlu / "reports").glob("*.json")) - before
    ]
    assert all(report["ok"] for report in reports)
    assert sum(report["calls"].get("calibrate", 0) for report in reports) == 1
    assert sum(sum(report["executes"].values()) for report in reports) > 0
