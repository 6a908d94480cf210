"""A failed gate, an unusable input or an unknown parameter ends a run with one line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from helpers import stages
from helpers.errors import CheckpointError, DataError, GateError, ParameterError
from helpers.recipes import parts
from helpers.recipes.parts import run_network
from helpers.run import read_run_status
from tests.stages.pipeline import QUICK


@pytest.fixture(scope="module")
def first(run_pipeline, outputs):
    """A run up to the scores."""
    return run_pipeline(outputs, until="score", **QUICK)


class TestGates:
    def test_untrained_weights_fail_the_gate(self, run_pipeline, tmp_path, tiny):
        with pytest.raises(GateError, match=r"cube over 3 cases: 0\.\d+, at least 0\.9"):
            run_pipeline(tmp_path, checkpoint=str(tiny.folder / "untrained.safetensors"), **QUICK)
        run = run_pipeline.last.run
        assert not run.path("metrics.json").exists()
        assert read_run_status(run.path("run.json"))[0] == "failed"
        with pytest.raises(GateError):
            stages.finish_run(run_pipeline.last.recipe, run)

    def test_a_graph_that_departs_from_the_network_fails_export_with_the_number(
        self, run_pipeline, tmp_path, monkeypatch
    ):
        def run_inexactly(network, batch):
            output = run_network(network, batch)
            return output + 1e-3 * np.ptp(output)

        monkeypatch.setattr(parts, "run_network", run_inexactly)
        with pytest.raises(GateError, match=r"ONNX Runtime against torch, batch 1: 1\.0e-03 of range"):
            run_pipeline(tmp_path, until="export")
        assert not run_pipeline.last.run.path("graph").exists()

    def test_scores_on_the_users_data_are_reported_and_not_judged(self, run_pipeline, tmp_path, tiny):
        root = tmp_path / "mine"
        root.mkdir()
        tiny.module.RECIPE.cases.write_demo_cases(root, [7])
        weights = str(tiny.folder / "untrained.safetensors")
        done = run_pipeline(tmp_path / "outputs", data_root=str(root), checkpoint=weights, **QUICK)
        assert "none" in done.made["score"].facts["gate"]
        with pytest.raises(GateError, match="cube over 1 case:"):
            run_pipeline(
                tmp_path / "outputs", data_root=str(root), checkpoint=weights, minimum_scores={"cube": 0.9}, **QUICK
            )

    def test_cases_without_truth_get_masks_and_no_score(self, first, run_pipeline, outputs, tmp_path, tiny):
        root = tmp_path / "mine"
        root.mkdir()
        tiny.module.RECIPE.cases.write_demo_cases(root, [7])
        (root / "case_7_truth.nii.gz").unlink()
        done = run_pipeline(outputs, data_root=str(root), until="score", **QUICK)
        assert done.made["score"].values["mean"] == {"cube": None}
        assert done.run.path("masks/case_7.nii.gz").is_file()

    def test_an_unknown_score_is_refused_with_the_nearest(self, run_pipeline, outputs, first):
        with pytest.raises(ParameterError, match=r"unknown score 'cubes' in minimum_scores.*'cube'"):
            run_pipeline(outputs, minimum_scores={"cubes": 0.5}, **QUICK)


class TestBadInput:
    def _one_line(self, error, *parts: str) -> None:
        line = error.value.line()
        assert "\n" not in line and all(part in line for part in parts), line

    def test_a_checkpoint_of_another_network_fails_with_one_line(self, run_pipeline, tmp_path, tiny):
        import torch
        from safetensors.torch import save_file

        state = tiny.module.trained_state()
        state["tail.weight"] = state.pop("head.weight")
        state["down.bias"] = torch.zeros(5)
        save_file(state, tmp_path / "other.safetensors")
        with pytest.raises(CheckpointError) as caught:
            run_pipeline(tmp_path / "outputs", checkpoint=str(tmp_path / "other.safetensors"))
        self._one_line(caught, "head.weight", "tail.weight", "down.bias is (5,) instead of (2,)")
        run = run_pipeline.last.run
        assert not run.path("graph").exists() and not run.path("model.onnx").exists()

    def test_a_missing_checkpoint_fails_with_one_line(self, run_pipeline, tmp_path):
        with pytest.raises(ParameterError, match=r"no file or folder no/such\.pth \(parameter checkpoint\)"):
            run_pipeline(tmp_path, checkpoint="no/such.pth")

    def test_an_unknown_case_names_the_nearest(self, run_pipeline, outputs):
        with pytest.raises(DataError) as caught:
            run_pipeline(outputs, cases=["case_33"])
        self._one_line(caught, "no case 'case_33'", "Did you mean 'case_3'?")

    def test_a_truncated_file_ends_the_run_before_any_work(self, run_pipeline, tmp_path, tiny):
        root = tmp_path / "mine"
        root.mkdir()
        tiny.module.RECIPE.cases.write_demo_cases(root, [7, 8])
        path = root / "case_8_image.nii.gz"
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(DataError) as caught:
            run_pipeline(tmp_path / "outputs", data_root=str(root))
        self._one_line(caught, "case_8_image.nii.gz is truncated")
        run = run_pipeline.last.run
        assert (
            list(run_pipeline.last.made) == []
            and "truncated" in json.loads(run.path("run.json").read_text(encoding="utf-8"))["reason"]
        )


class TestStart:
    @pytest.mark.parametrize(
        ("namespace", "telling"),
        [
            ({"bacth_size": 4}, "Did you mean 'batch_size'?"),
            ({"zzz": 1}, "unknown parameter 'zzz'"),
            ({"batch_size": "4"}, "received '4' (str)"),
            ({"window": (16, 16, 16)}, "window"),
            ({"cases": {"case_1"}}, "cases"),
        ],
    )
    def test_invalid_names_and_values_in_the_namespace_are_refused(self, tiny, tmp_path, namespace, telling):
        with pytest.raises(ParameterError) as caught:
            stages.start_run("tiny", {"outputs": str(tmp_path), **namespace})
        assert telling in caught.value.line()
        assert list(tmp_path.iterdir()) == []

    def test_values_that_cannot_be_parameters_are_ignored(self, tiny, tmp_path):
        import math

        namespace = {"math": math, "stages": stages, "_private": 3, "In": [""], "Out": {}, "outputs": str(tmp_path)}
        _, run = stages.start_run("tiny", namespace)
        run.record.end("passed")

    def test_in_an_interactive_session_the_cell_can_be_run_again_after_the_rest(
        self, run_pipeline, first, outputs, monkeypatch
    ):
        monkeypatch.setenv("JPY_SESSION_NAME", "01.ipynb")
        namespace = {
            "outputs": str(outputs),
            **QUICK,
            "recipe": first.recipe,
            "run": first.run,
            "masks": first.made["infer"],
            "scored": first.made["score"],
            "my_note": "about this run",
        }
        _, run = stages.start_run("tiny", namespace)
        run.record.end("passed")
        assert run.folder == first.run.folder

    def test_in_an_interactive_session_a_mistyped_parameter_is_refused_too(self, tiny, tmp_path, monkeypatch):
        monkeypatch.setenv("JPY_SESSION_NAME", "01.ipynb")
        with pytest.raises(ParameterError, match="batch_size"):
            stages.start_run("tiny", {"outputs": str(tmp_path), "batchsize": 4})

    def test_an_unknown_recipe_names_the_nearest(self, tiny):
        with pytest.raises(ParameterError, match=r"unknown recipe 'unet3d_brat'.*'unet3d_brats'"):
            stages.start_run("unet3d_brat", {})
