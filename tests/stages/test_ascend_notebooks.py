"""Every recipe's notebook on a simulated Ascend chip (the strict double): its masks against torch's in f32."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import recipes
from helpers.data.case import CaseFiles
from helpers.inference import as_predictor
from helpers.params.paths import PROJECT_ROOT

DOUBLE = Path(__file__).parents[1] / "doubles" / "cann"
SEED = 9001
# Lead of the best class, as a fraction of the scores' range, below which float16 may choose another one.
NEAR_TIE = 1e-2

pytestmark = [pytest.mark.slow, pytest.mark.notebook, pytest.mark.timeout(900)]

# Windows side by side: the outputs of the device are compared, not how windows are averaged.
LIGHT_3D = {"tile_step_size": 1.0, "mirror_axes": []}
# recipe, profile, and the machine: chip, layout of npu-smi, CANN, what ATC adds to its file's name; parameters.
NOTEBOOK_RUNS = [
    ("unet3d_brats", "ascend310", ("Ascend310", "310p", "5", ""), {**LIGHT_3D, "source_crops": 1}),
    ("unet_carvana", "ascend310b1", ("Ascend310B1", "duo", "7", "_linux_aarch64"), {"batch_gears": [1, 2, 4]}),
    ("fcn_voc2012", "ascend310p3", ("Ascend310P3", "a3", "6", "_linux_x86_64"), {}),
    ("unetpp3d_liver", "ascend310p3", ("Ascend310P3", "duo", "8", ""), {**LIGHT_3D, "batch_size": 2}),
    (
        "nnunet_heart",
        "ascend910b",
        ("Ascend910B4", "910b", "8", ""),
        {**LIGHT_3D, "batch_size": 4, "batch_gears": [1, 4]},
    ),
]


@dataclass
class FinishedNotebook:
    """A notebook's run."""

    folder: Path
    reports: list[dict]
    said: str

    @property
    def record(self) -> dict:
        return json.loads((self.folder / "run.json").read_text("utf-8"))


@pytest.fixture(params=NOTEBOOK_RUNS, ids=lambda case: f"{case[0]} on {case[1]}")
def finished(request, tmp_path):
    recipe, profile, (soc, smi, cann, suffix), given = request.param
    switches = {"SOC": soc, "SMI": smi, "CANN": cann, "OM_SUFFIX": suffix, "FP16": "1", "PYTHON": sys.executable}
    switches["REPORT"] = f"{tmp_path}/acl-%p.json"
    environment = {**os.environ, **{f"CANN_DOUBLE_{name}": value for name, value in switches.items()}}
    environment["PATH"] = f"{DOUBLE / 'bin'}:{os.environ['PATH']}"
    environment["PYTHONPATH"] = f"{PROJECT_ROOT}:{DOUBLE / 'python'}"
    given = {"profile": profile, "demo_seeds": [SEED], "minimum_scores": {}, "outputs": str(tmp_path), **given}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    pairs = [part for name, text in texts.items() for part in ("-p", name, text)]
    command = [sys.executable, "-m", "helpers", "run", recipe, *pairs]
    ran = subprocess.run(command, env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (folder,) = (tmp_path / recipe).iterdir()
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.glob("acl-*.json")]
    return recipe, FinishedNotebook(folder, reports, ran.stdout + ran.stderr)


def _cut_of(record: dict) -> dict:
    """The parameters that determine how a run's windows are cut."""
    return {key: record["params"][key] for key in ("tile_step_size", "mirror_axes") if key in record["params"]}


def test_masks_equal_those_of_f32_except_at_near_ties_and_the_device_is_used_correctly(finished):
    name, run = finished
    assert run.record["status"] == "passed" and not run.record["reason"]
    assert run.record["stages"]["compile"]["status"] == "made"
    assert run.reports and all(report["ok"] for report in run.reports)
    assert sum(device["count"] for report in run.reports for device in report["executes"].values()) > 0
    near = _NearTies(name, run.folder.parents[1], _cut_of(run.record))
    mask = near.recipe.cases.read_mask(next(run.folder.glob("masks/*")), near.case)
    assert _lowest_dice(mask, near.exact) >= 0.999
    assert not near.unexcused(mask).any()
    assert not near.unexcused(near.exact).any()
    wrong = (near.exact + 1) % len(near.recipe.labels(near.params))
    assert near.unexcused(wrong.astype(np.uint8)).mean() > 0.8


class _NearTies:
    """The mask in f32, and which classes a small push of the scores would turn each position to.

    Every class in turn is pushed up by NEAR_TIE of the scores' range before anything is averaged or resampled: where
    the best class leads by less than that, the mask turns.
    """

    def __init__(self, name: str, outputs: Path, cut: dict):
        self.recipe = recipes.load(name)
        self.params = self.recipe.prepare_params(profile="demo", demo_seeds=[SEED], **cut)
        self.case = self.recipe.cases.read_case(self._files(outputs), self.params)
        self.network, _ = self.recipe.model.load_trained(self.params)
        self.outputs: dict[int, np.ndarray] = {}
        self.exact = self._segment(None, 0.0)
        span = max(np.ptp(scores) for scores in self.outputs.values())
        channels = next(iter(self.outputs.values())).shape[1]
        pushes = [(channel, NEAR_TIE * span) for channel in range(channels)]
        pushes += [(0, -NEAR_TIE * span)] if channels == 1 else []
        self.turned = [self._segment(*push) for push in pushes]

    def unexcused(self, mask: np.ndarray) -> np.ndarray:
        """Where a mask departs from the one in f32 although no push turns it."""
        may_turn = np.any([turned != self.exact for turned in self.turned], axis=0)
        return (mask != self.exact) & ~may_turn

    def _segment(self, channel: int | None, push: float) -> np.ndarray:
        def infer(batch: np.ndarray) -> np.ndarray:
            key = hash(batch.tobytes())
            if key not in self.outputs:
                with torch.inference_mode():
                    self.outputs[key] = self.network(torch.from_numpy(batch)).numpy()
            scores = self.outputs[key].copy()
            if channel is not None:
                scores[:, channel] += push
            return scores

        return self.recipe.preparation.segment(self.case, as_predictor(infer), self.params)

    def _files(self, outputs: Path) -> CaseFiles:
        (root,) = (outputs / ".demo").glob(f"{self.recipe.name}-*")
        (files,) = self.recipe.cases.list_cases(root, self.params)
        return files


def _lowest_dice(mask: np.ndarray, exact: np.ndarray) -> float:
    classes = [index for index in np.unique(exact) if index]
    return min(2 * np.sum((mask == c) & (exact == c)) / (np.sum(mask == c) + np.sum(exact == c)) for c in classes)
