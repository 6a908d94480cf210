"""Labels and scores have the names of the model folder, in its order; the official ones keep their score names."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from helpers import recipes, stages
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.qa.finished import find_run
from helpers.qa.review import open_review
from helpers.report import write_report
from helpers.scoring.dice import dice
from tests.recipes.nnunet_models import tiny, write_task
from tests.recipes.nnunet_pipeline import run_pipeline


class NotDrawnError(Exception):
    """Raised instead of drawing; only the arguments matter."""


SWAPPED = ("background", "tumour", "liver")  # the data set says {"tumour": 1, "liver": 2}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("nnUNet_raw", "nnUNet_raw_data_base", "nnUNet_results", "RESULTS_FOLDER", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)


def model_with(names, kind="liver_plain"):
    """A small model whose folder names its labels so, under the recipe of the heart."""
    model = tiny(kind)
    return replace(model, recipe="nnunet_heart", plan=replace(model.plan, class_names=names))


def labels_and_scores(recipe_name, folder):
    recipe = recipes.load(recipe_name)
    params = recipe.prepare_params(profile="cpu", checkpoint=str(folder))
    return recipe.labels(params).names, recipe.score_names(params)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of a folder with two foreground labels under a recipe that has one; its task has truths of both."""
    root = tmp_path_factory.mktemp("swapped")
    model = model_with(SWAPPED)
    task, folder = write_task(root, model.recipe, count=2), model.write(root / "model", 2)
    for path in sorted((task / "labelsTr").glob("*.nii.gz")):
        truth = read_volume(path)
        truth.array[0, 4:] *= 2
        write_volume(path, Volume(truth.array, truth.geometry))
    run = run_pipeline(
        model.recipe,
        root / "outputs",
        checkpoint=str(folder),
        data_root=str(task),
        simplify_timeout_s=0.01,
        tile_step_size=1.0,
        mirror_axes=[],
    )
    return run, task


def test_the_run_records_the_folder_s_labels_and_scores(finished):
    record = json.loads(finished[0].path("run.json").read_text(encoding="utf-8"))
    assert record["labels"] == {"names": list(SWAPPED), "values": [0, 1, 2]}
    assert record["score_names"] == ["tumour", "liver"]


def test_every_label_is_scored_and_counted_under_its_own_name(finished):
    run, task = finished
    metrics = json.loads(run.path("metrics.json").read_text(encoding="utf-8"))
    for case, scores in metrics["cases"].items():
        truth = read_volume(task / "labelsTr" / f"{case}.nii.gz").array
        mask = read_volume(run.path(f"masks/{case}.nii.gz")).array
        expected = {name: dice(mask == label, truth == label) for name, label in (("tumour", 1), ("liver", 2))}
        assert scores == pytest.approx(expected, abs=1e-6)
        found = run.results[f"infer/{case}"].values["found"]
        assert found == {"tumour": int((mask == 1).sum()), "liver": int((mask == 2).sum())}
        described = run.results["data"].facts[f"case {case}"]
        assert f"tumour {(truth == 1).sum():,} voxels, liver {(truth == 2).sum():,} voxels" in described
    assert set(metrics["mean"]) == {"tumour", "liver"}


def test_review_and_report_read_the_names_from_the_record(finished, monkeypatch):
    run, _ = finished
    outputs = run.folder.parents[1]
    other_names = lambda self, params: pytest.fail("the recipe was asked for its labels")  # noqa: E731
    monkeypatch.setattr(type(recipes.load("nnunet_heart").scoring), "labels", other_names)
    chosen = find_run(outputs, "nnunet_heart", run.folder.name)
    assert chosen.labels.names == SWAPPED and chosen.score_names == ("tumour", "liver")
    review = open_review(chosen, "ann", outputs, interactive=False)
    assert [set(case.scores) for case in review.cases] == [{"tumour", "liver"}] * 2
    page = write_report(run.folder).read_text(encoding="utf-8")
    assert "mean tumour" in page and "mean liver" in page and "atrium" not in page


def test_pictures_name_the_folder_s_labels(finished, monkeypatch):
    run, _ = finished
    shown = []

    def draw(*_, class_names, **__):
        shown.append(class_names)
        raise NotDrawnError

    monkeypatch.setattr("helpers.view.figures.draw_montage", draw)
    with pytest.raises(NotDrawnError):
        stages.draw_results(recipes.load("nnunet_heart"), run)
    assert shown == [SWAPPED]


@pytest.mark.parametrize(
    ("recipe", "names", "scores"),
    [
        ("nnunet_heart", ("background", "left atrium"), ("atrium",)),
        ("unetpp3d_liver", ("background", "liver", "cancer"), ("liver", "lesion")),
        ("unetpp3d_liver", ("background", "liver", "lesion"), ("liver", "lesion")),
        ("unetpp3d_liver", ("background", "lesion", "cancer"), ("lesion", "cancer")),
    ],
)
def test_the_official_labels_keep_their_score_names(recipe, names, scores, tmp_path):
    folder = model_with(names, "heart_2d" if len(names) == 2 else "liver_plain").write(tmp_path, 2)
    assert labels_and_scores(recipe, folder) == (names, scores)


def test_a_folder_of_v1_has_the_recipe_s_names_unless_it_has_as_many_others_or_a_dataset_json(tmp_path):
    folder = model_with(("background", "1", "2")).write(tmp_path, 1)
    assert labels_and_scores("unetpp3d_liver", folder) == (("background", "liver", "lesion"), ("liver", "lesion"))
    assert labels_and_scores("nnunet_heart", folder) == (("background", "1", "2"), ("1", "2"))
    content = {"labels": {"0": "background", "1": "tumour", "2": "liver"}}
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    assert labels_and_scores("nnunet_heart", folder) == (SWAPPED, ("tumour", "liver"))
