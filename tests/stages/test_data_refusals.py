"""Truths and names that a run cannot serve are refused before any work; cases without a truth run to the end."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from helpers import recipes, stages
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import DataError, ParameterError

QUICK = {"simplify_timeout_s": 0.001}


@pytest.fixture
def folder(tiny, tmp_path):
    """The cases of the tiny recipe as a user's data."""
    (tmp_path / "data").mkdir()
    tiny.module.TinyCases().write_demo_cases(tmp_path / "data", [1, 2])
    return tmp_path / "data"


def multiply(path, scale: int) -> None:
    old = read_volume(path)
    write_volume(path, Volume((old.array * scale).astype(np.uint8), old.geometry))


def truth_of(folder, number: int):
    (path,) = (path for path in folder.glob(f"case_{number}*") if "image" not in path.name)
    return path


@pytest.mark.parametrize(("scale", "said"), [(255, r"received 255 .*divide it by 255"), (5, r"received 5 \(in the")])
def test_truth_values_that_the_model_does_not_know_end_the_run_before_the_export(
    run_pipeline, folder, tmp_path, scale, said
):
    multiply(truth_of(folder, 2), scale)
    with pytest.raises(DataError, match=rf"{truth_of(folder, 2).name} holds values that the model does not.*{said}"):
        run_pipeline(tmp_path / "outputs", data_root=str(folder), **QUICK)
    run = run_pipeline.last.run
    assert not run.path("graph").exists() and "export" not in run.results


def test_cases_without_a_truth_run_to_the_end_and_it_is_said(run_pipeline, folder, tmp_path):
    for number in (1, 2):
        truth_of(folder, number).unlink()
    done = run_pipeline(tmp_path / "outputs", data_root=str(folder), **QUICK)
    drawn = stages.draw_results(done.recipe, done.run)
    assert done.made["data"].facts["with truth"] == "0; no scores, because no case has a truth"
    assert done.made["source"].facts == {"source's score": "none: no case has a truth"}
    assert done.made["score"].values["cases"] == {}
    assert drawn.facts["the first cases"] == "case_1, case_2" and len(drawn.pictures) == 4
    assert done.run.record.field("status") == "passed"


@pytest.mark.parametrize("name", ["case[1]", "a*", "b?"])
def test_characters_of_patterns_in_case_ids(tmp_path, name):
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / f"{name}.png")
    recipe, run = stages.start_run(
        "unet_carvana", {"data_root": str(tmp_path), "outputs": str(tmp_path / "out[1]"), "cases": name}
    )
    assert stages.prepare_data(recipe, run).values["cases"] == [name]
    run.record.end("passed")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"minimum_scores": {"IoV": 0.5}}, r"unknown score 'IoV' in minimum_scores.*'IoU'"),
        ({"minimum_scores": {"IoU": 97}}, r"'IoU' in minimum_scores: received 97.*expected 0 to 1.*percentage"),
        ({"minimum_scores": {"IoU": -1}}, r"received -1.*expected 0 to 1"),
        ({"grey_window": "mrr"}, r"grey window 'mrr'.*'mr'"),
        ({"study_targets": ["onxruntime"]}, r"'onxruntime'.*'onnxruntime'"),
        ({"study_precisions": ["bf61"]}, r"unknown precision 'bf61' in study_precisions.*'bf16'"),
    ],
)
def test_unknown_names_are_refused_with_the_parameters(given, said):
    with pytest.raises(ParameterError, match=said) as refusal:
        recipes.load("unet_carvana").prepare_params(**given)
    assert refusal.value.exit_code == 2
