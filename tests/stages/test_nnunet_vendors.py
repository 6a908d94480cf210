"""Model folders with residual encoders and regions on the strict doubles of Ascend chips and of an MLU370.

Every stage runs as in the notebook, without pictures: lint, compile, parity, inference. The masks are compared with
those of the CPU in f32; they may differ where half precision decides otherwise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.data.nnunet.network_plan import network_of_v2
from helpers.data.volume import read_volume
from helpers.params.paths import PROJECT_ROOT
from helpers.recipes.nnunet_networks import build_planned
from tests.conftest import MAGICMIND
from tests.data.nnunet_folders import write_v2
from tests.recipes.nnunet_models import tiny, v2_plans_of, write_task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CANN = Path(__file__).parents[1] / "doubles" / "cann"
RESIDUAL = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
REGIONS = {"background": 0, "liver": [1, 2], "cancer": 2}
PROGRAM = """
import json, sys
from tests.recipes.nnunet_pipeline import run_pipeline
given = json.loads(sys.argv[1])
print(run_pipeline("nnunet", given.pop("outputs"), **given).folder)
"""
# A chip of the double by the name of the profile.
CHIPS = {"ascend310": ("Ascend310", "310p", "5"), "ascend310p3": ("Ascend310P3", "duo", "8")}


def write_residual(root: Path, regions: bool) -> Path:
    """A model folder in three dimensions with a residual encoder of random weights."""
    plans = v2_plans_of(tiny("liver_plain").plan, RESIDUAL)
    settings = plans["configurations"]["3d_fullres"]
    arguments = settings["architecture"]["arch_kwargs"]
    del arguments["n_conv_per_stage"]
    arguments |= {"n_blocks_per_stage": [1, 2, 2], "n_conv_per_stage_decoder": [1, 1]}
    torch.manual_seed(0)
    network = build_planned(network_of_v2(settings), 1, 2 if regions else 3)
    state = network.state_dict()
    for key, value in state.items():
        if "seg_layers" in key and value.ndim > 1:
            state[key] = 4 * (value - value.mean(1, keepdim=True))
    dataset = {"channel_names": {"0": "CT"}, "numTraining": 5, "file_ending": ".nii.gz"}
    labels = {"labels": REGIONS, "regions_class_order": [1, 2]}
    plain = {"labels": {"background": 0, "liver": 1, "cancer": 2}}
    return write_v2(root, state, plans=plans, dataset=dataset | (labels if regions else plain))


def environment(profile: str, reports: Path) -> dict[str, str]:
    """The environment that the vendor's set-up script would leave."""
    values = dict(os.environ)
    path = [str(PROJECT_ROOT)]
    if profile in CHIPS:
        soc, smi, cann = CHIPS[profile]
        switches = {"SOC": soc, "SMI": smi, "CANN": cann, "FP16": "1", "PYTHON": sys.executable}
        values |= {f"CANN_DOUBLE_{name}": value for name, value in switches.items()}
        values["CANN_DOUBLE_REPORT"] = f"{reports}/%p.json"
        values["PATH"] = f"{CANN / 'bin'}:{values['PATH']}"
        path.append(str(CANN / "python"))
    elif profile.startswith("mlu"):
        values["MM_DOUBLE_REPORT"] = f"{reports}/%p.json"
        path.append(str(MAGICMIND / "python"))
    return values | {"PYTHONPATH": os.pathsep.join(path)}


def run_on(profile: str, root: Path, **given: object) -> tuple[Path, list[dict]]:
    """A finished run in a process of its own, and the double's reports."""
    reports = root / f"reports-{profile}"
    reports.mkdir(exist_ok=True)
    content = {"profile": profile, "outputs": str(root / "outputs"), "simplify_timeout_s": 0.01, **given}
    command = [sys.executable, "-c", PROGRAM, json.dumps(content)]
    done = subprocess.run(
        command, env=environment(profile, reports), cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in reports.glob("*.json")]
    return Path(done.stdout.strip().splitlines()[-1]), found


@pytest.fixture(scope="module", params=[False, True], ids=["labels", "regions"])
def folder(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("residual")
    task = write_task(root, "unetpp3d_liver", count=2)
    model = write_residual(root / "model", request.param)
    given = {"checkpoint": str(model), "data_root": str(task), "cases": ["case_0"], "tile_step_size": 1.0}
    run, _ = run_on("cpu", root, **given)
    return root, given, read_volume(run / "masks" / "case_0.nii.gz").array


@pytest.mark.parametrize("profile", ["ascend310", "ascend310p3", "mlu370", "mlu370_qint8"])
def test_a_residual_encoder_runs_on_a_vendor_s_chip(profile, folder):
    root, given, expected = folder
    run, reports = run_on(profile, root, **given)
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "passed" and record["stages"]["compile"]["status"] == "made"
    lint = dict(record["stages"]["lint"]["facts"])
    assert all("no objection after" in text for text in lint.values()), lint
    assert "Resize" not in dict(record["stages"]["inspect"]["facts"])["ops"]
    assert reports and all(report["ok"] for report in reports)
    mask = read_volume(run / "masks" / "case_0.nii.gz").array
    assert len(np.unique(expected)) >= 2
    assert np.mean(mask != expected) < (0.05 if "qint8" in profile else 0.01)
