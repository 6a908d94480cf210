"""A user's model folder of either version of nnU-Net, from export to scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers import recipes
from helpers.data.nnunet.splits import split_fold
from helpers.data.volume import read_volume
from helpers.errors import DataError, ParameterError
from helpers.scoring.dice import dice
from tests.recipes.nnunet_models import demo, mask_of, tiny, write_task
from tests.recipes.nnunet_pipeline import run_pipeline

QUICK = {"simplify_timeout_s": 0.01}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("nnUNet_raw", "nnUNet_raw_data_base", "nnUNet_results", "RESULTS_FOLDER", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)


def test_an_ensemble_passes_with_its_softmax_and_its_held_out_scores(tmp_path):
    model = tiny("heart_2d", folds=2)
    task, folder = write_task(tmp_path, model.recipe, count=5, suffix="_0000"), model.write(tmp_path / "model", 1)
    wanted = {"folds": "0,1", "cases": "case_1", "save_softmax": True}
    run = run_pipeline(
        model.recipe, tmp_path / "outputs", checkpoint=str(folder), data_root=str(task), **wanted, **QUICK
    )
    mask = read_volume(run.path("masks/case_1.nii.gz"))
    assert not mask.geometry.differences_from(read_volume(task / "imagesTr" / "case_1_0000.nii.gz").geometry)
    np.testing.assert_array_equal(mask.array[0], mask_of(folder, task, model.recipe, case=1, folds="all"))
    saved = np.load(run.path("masks/case_1.npz"))["softmax"]
    assert saved.dtype == np.float16 and saved.shape == (2, 7, 18, 24)  # v1's form: the crop, in the case's axes
    np.testing.assert_allclose(saved.astype(float).sum(0), 1, atol=2e-3)
    sure = np.abs(saved[1].astype(float) - 0.5) > 1e-3
    np.testing.assert_array_equal(saved.argmax(0)[sure], mask.array[0][1:, :, :-2][sure])
    summary = json.loads(run.path("summary.json").read_text(encoding="utf-8"))
    assert len(summary["results"]["mean"]["1"]) == 13


def test_only_held_out_cases_count_and_the_others_are_reported(tmp_path):
    model = tiny("heart_2d", folds=2)
    task, folder = write_task(tmp_path, model.recipe, count=6), model.write(tmp_path / "model", 2)
    given = {"checkpoint": str(folder), "data_root": str(task), "fold": 1, **QUICK}
    run = run_pipeline(model.recipe, tmp_path / "outputs", split="all", **given)
    metrics = json.loads(run.path("metrics.json").read_text(encoding="utf-8"))
    held_out = split_fold([f"case_{index}" for index in range(6)], 1)[1]
    assert metrics["held_out"] == held_out and len(metrics["cases"]) == 6
    means = {part: [metrics["cases"][name]["liver"] for name in names] for part, names in (
        ("mean", held_out), ("trained_on", sorted(set(metrics["cases"]) - set(held_out))))}  # fmt: skip
    for part, values in means.items():
        assert metrics[part]["liver"] == pytest.approx(np.mean(values), abs=1e-6)
    rows = json.loads(run.path("summary.json").read_text(encoding="utf-8"))["metric_per_case"]
    assert [Path(row["prediction_file"]).name for row in rows] == [f"{name}.nii.gz" for name in held_out]
    recipe = recipes.load(model.recipe)
    params = recipe.prepare_params(profile="cpu", split="validation", **given)
    assert [case.id for case in recipe.cases.list_cases(task, params)] == held_out


def test_a_data_set_s_name_is_found_below_nnunet_s_variables(tmp_path, monkeypatch):
    model = tiny("liver_plain")
    task = write_task(tmp_path / "raw" / "Dataset003_Liver", model.recipe)
    task.rename(tmp_path / "moved")
    (tmp_path / "raw" / "Dataset003_Liver").rmdir()
    (tmp_path / "moved").rename(tmp_path / "raw" / "Dataset003_Liver")
    folder = model.write(tmp_path / "results" / "Dataset003_Liver", 2)
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    recipe = recipes.load(model.recipe)
    params = recipe.prepare_params(profile="cpu", checkpoint="Dataset003_Liver", data_root="3")
    assert recipe.model.checkpoint_paths(params)[0].parent.parent == folder
    assert [case.id for case in recipe.cases.list_cases(recipe.cases.data_folder(params), params)] == ["case_0"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"variant": "3d"}, "variant does not match the model: received 3d, expected 2d"),
        ({"split": "all"}, "training set"),
        ({"passes": "source_cpp", "save_softmax": True}, "save no probabilities"),
        ({"checkpoint": "no/such"}, "no file or folder no/such .parameter checkpoint"),
        ({"fold": 7}, "lacks folds"),
        ({"split": "all", "folds": "all", "data_root": "task"}, "held out"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(given, message, tmp_path):
    model = tiny("heart_2d", folds=2)
    if set(given) & {"fold", "folds"}:
        given = given | {"checkpoint": str(model.write(tmp_path, 2))}
    with pytest.raises((ParameterError, DataError), match=message):
        recipes.load(model.recipe).prepare_params(**given)


def test_postprocessing_is_part_of_what_decides_a_mask(tmp_path):
    model = tiny("heart_2d")
    folder = model.write(tmp_path, 1)
    recipe = recipes.load(model.recipe)
    params = recipe.prepare_params(profile="cpu", checkpoint=str(folder))
    before = recipe.model.cache_key_extras(params)
    (folder / "postprocessing.json").write_text(json.dumps({"for_which_classes": [1]}), encoding="utf-8")
    assert recipe.model.cache_key_extras(params) != before


@pytest.mark.slow
@pytest.mark.official
@pytest.mark.parametrize(("name", "least"), [("unetpp3d_liver", 0.9), ("nnunet_heart", 0.85)])
def test_the_demo_weights_as_folders_of_both_versions_give_the_same_masks(name, least, tmp_path):
    """By their own rules they differ at the rim, where windows and mirrors disagree (liver: Dice 0.986)."""
    model, recipe = demo(name), recipes.load(name)
    recipe.cases.write_demo_cases(tmp_path / "data", [9001])
    masks = {}
    for version, rules in ((1, None), (2, 1), (2, None)):
        folder = tmp_path / f"v{version}"
        folder = next(folder.glob("*"), None) or model.write(folder, version, recipe.model.demo.mirror_axes)
        given = {"checkpoint": str(folder), "data_root": str(tmp_path / "data"), "mirror_axes": [0], **QUICK}
        run = run_pipeline(name, tmp_path / "outputs", as_version=rules, **given)
        (path,) = run.path("masks").glob("*.nii.gz")
        masks[version, rules] = read_volume(path).array[0]
        assert (
            json.loads(run.path("metrics.json").read_text(encoding="utf-8"))["mean"][
                recipe.score_names(run.params)[0]
            ]
            >= least
        )
    np.testing.assert_array_equal(masks[1, None], masks[2, 1])
    assert 0.98 < dice(masks[1, None] > 0, masks[2, None] > 0) < 1
