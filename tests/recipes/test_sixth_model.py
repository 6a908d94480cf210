"""A model from outside needs one recipe file and a profile: every stage works on it, from a `.pt` to scores."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import recipes, stages

HERE = Path(__file__).parent


@pytest.fixture
def blob(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    params = tmp_path / "params"
    (params / "blob").mkdir(parents=True)
    (params / "blob" / "demo.yaml").write_text("demo_seeds: [1, 2]\n", encoding="utf-8")
    monkeypatch.setattr(recipes, "_RECIPES", dict(recipes._RECIPES))
    recipes.register("blob", "blob_recipe:RECIPE", params_folder=params)
    yield recipes.load("blob")
    for module in ("blob_recipe", "basic_unet"):
        sys.modules.pop(module, None)


def train_a_little(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    optimiser = torch.optim.Adam(network.train().parameters(), 1e-2)
    distance = sum((axis - 8) ** 2 for axis in np.indices((16, 16, 16)))
    truth = torch.from_numpy((distance < 36).astype(np.int64))[None]
    for _ in range(40):
        optimiser.zero_grad()
        image = truth[:, None].float() + 0.5 * torch.randn(1, 1, 16, 16, 16)
        torch.nn.functional.cross_entropy(network(image), truth).backward()
        optimiser.step()
    return network.state_dict()


def test_recipe_file_is_short():
    assert len((HERE / "blob_recipe.py").read_text(encoding="utf-8").splitlines()) <= 120


def test_every_stage_works_on_a_model_from_outside(blob, tmp_path):
    torch.save({"state_dict": train_a_little(blob.network())}, tmp_path / "basic_unet.pt")
    given = {"checkpoint": str(tmp_path / "basic_unet.pt"), "outputs": str(tmp_path / "out")}
    recipe, run = stages.start_run("blob", {**given, "minimum_scores": {"Dice": 0.5}})
    stages.prepare_data(recipe, run)
    for stage in (stages.export_onnx, stages.simplify_onnx, stages.apply_surgery, stages.lint_graph):
        stage(recipe, run)
    stages.compile_model(recipe, run)
    parity = stages.check_model_parity(recipe, run)
    assert parity.values["device"]["largest"] <= 1e-4
    assert [result.status for result in stages.infer_cases(recipe, run)] == ["made", "made"]
    scored = stages.score_cases(recipe, run)
    assert scored.values["mean"]["Dice"] >= 0.5
    assert len(stages.draw_results(recipe, run).files) == 4
    stages.finish_run(recipe, run)
    assert run.record.content["status"] == "passed"
