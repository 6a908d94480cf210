"""A recipe whose model is an ONNX file, not a PyTorch network, goes through the same stages."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from helpers import stages
from helpers.errors import ParameterError
from helpers.graph.export import export_network
from helpers.graph.read import load_graph, run_reference
from helpers.recipes.base import LoadedModel, ModelSource
from helpers.run import Check


@dataclass(frozen=True)
class LoadedFile(LoadedModel):
    """The file, run by ONNX Runtime."""

    runs_in = "the file"

    path: Path

    @property
    def check(self):
        return Check("ONNX file is valid", True, f"{len(load_graph(self.path).graph.node)} nodes")

    def export(self, spec, path) -> onnx.ModelProto:
        shutil.copyfile(self.path, path)
        return load_graph(path)

    def output(self, batch: np.ndarray) -> np.ndarray:
        return next(iter(run_reference(self.path, {"image": batch}).values()))


@dataclass(frozen=True)
class FileModel(ModelSource):
    """The graph that `checkpoint` names."""

    specification: ModelSource

    def graph_spec(self, params):
        return self.specification.graph_spec(params)

    def checkpoint_paths(self, params):
        return (Path(params.checkpoint),)

    def load(self, params):
        return LoadedFile(Path(params.checkpoint))


@pytest.fixture
def file_recipe(tiny, tmp_path, monkeypatch):
    """The tiny recipe with a model file in place of its network, and that file."""
    recipe = tiny.module.RECIPE
    params = recipe.params_model(recipe="tiny", checkpoint=str(tiny.folder / "trained.safetensors"))
    path = tmp_path / "mine.onnx"
    export_network(recipe.model.load_for_export(params), recipe.model.graph_spec(params), path)
    monkeypatch.setattr(tiny.module, "RECIPE", replace(recipe, model=FileModel(recipe.model)))
    return path


def test_every_stage_takes_a_model_file(file_recipe, run_pipeline, tmp_path):
    done = run_pipeline(
        tmp_path / "out", until="score", checkpoint=str(file_recipe), cases=["case_1"], simplify_timeout_s=0.001
    )
    assert [check.name for check in done.made["export"].checks][-1].startswith("ONNX Runtime against the file")
    assert done.made["parity"].values["device"]["largest"] <= 1e-4
    assert done.made["score"].values["mean"]["cube"] > 0.9


def test_it_has_no_network_to_build(file_recipe, tmp_path):
    recipe, run = stages.start_run("tiny", {"checkpoint": str(file_recipe), "outputs": str(tmp_path)})
    run.record.end("passed")
    with pytest.raises(ParameterError, match="no network of its own"):
        recipe.network()
