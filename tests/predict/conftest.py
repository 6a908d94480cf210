"""A model of nnU-Net that was proven once, its two cases, and the masks that a notebook's steps make of them."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from helpers import cli, recipes, stages
from helpers.stages.labels import open_run

STEPS = (
    stages.prepare_data,
    stages.export_onnx,
    stages.simplify_onnx,
    stages.apply_surgery,
    stages.compile_model,
    stages.check_model_parity,
    stages.infer_cases,
)


@dataclasses.dataclass(frozen=True)
class Place:
    """Folders of the tests, and the shipped model folder of nnU-Net."""

    root: Path
    model: Path
    notebook_masks: Path

    @property
    def images(self) -> Path:
        return self.root / "data" / "imagesTs"

    @property
    def outputs(self) -> Path:
        return self.root / "outputs"

    def predict(self, source: Path, output: Path, *options: str) -> int:
        """The exit code of `cookbook predict` on the model folder."""
        words = ["predict", str(self.model), str(source), str(output), "-p", "outputs", str(self.outputs)]
        return cli.main([*words, *options])


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Place:
    root = tmp_path_factory.mktemp("predict")
    recipe = recipes.load("nnunet")
    model = recipe.model.folder(recipe.prepare_params(profile="demo")).checkpoints[0].parents[1]
    recipe.cases.write_demo_cases(root / "demo", [9001, 9002])
    images = root / "data" / "imagesTs"
    images.mkdir(parents=True)
    for file in sorted((root / "demo" / "imagesTr").iterdir()):
        shutil.copyfile(file, images / file.name)
    params = recipe.prepare_params(
        profile="cpu", checkpoint=str(model), data_root=str(root / "data"), outputs=str(root / "notebook")
    )
    run = open_run(recipe, params)
    for step in STEPS:
        step(recipe, run)
    return Place(root, model, run.path("masks"))
