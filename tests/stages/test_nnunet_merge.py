"""A list of model folders is run over the same cases, and their labels are merged by its map."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from helpers import recipes
from helpers.data.nnunet.merge import MergedModel, read_model_list
from helpers.data.volume import read_volume
from helpers.errors import DataError
from helpers.stages.merge import merge_models
from tests.recipes.nnunet_models import tiny, write_task
from tests.recipes.nnunet_pipeline import run_pipeline


def write_models(root):
    """Two model folders with other weights and other labels, and their list."""
    model = tiny("liver_plain", folds=2)
    first = replace(model, states=model.states[:1], plan=replace(model.plan, class_names=("background", "a", "b")))
    second = replace(model, states=model.states[1:], plan=replace(model.plan, class_names=("background", "c", "d")))
    folders = [first.write(root / "Dataset291_one", 2), second.write(root / "Dataset292_two", 2)]
    lines = ["models:"]
    for folder, labels in zip(folders, ("{a: 7, b: 3}", "{d: 200}"), strict=True):
        lines += [f"  - checkpoint: {folder.relative_to(root)}", f"    labels: {labels}"]
    (root / "list.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root / "list.yaml"


@pytest.mark.slow
def test_later_models_paint_over_earlier_ones_with_the_values_of_the_list(tmp_path):
    task = write_task(tmp_path, "unetpp3d_liver", count=2)
    models = read_model_list(write_models(tmp_path / "models"))
    made = []

    def run_model(given):
        outputs = given["outputs"]
        options = {name: value for name, value in given.items() if name not in ("outputs", "profile")}
        made.append(run_pipeline("nnunet", outputs, **options).folder)
        return made[-1]

    given = {
        "profile": "cpu",
        "data_root": str(task),
        "outputs": str(tmp_path / "outputs"),
        "tile_step_size": 1.0,
        "mirror_axes": [],
        "simplify_timeout_s": 0.01,
    }
    folder = merge_models(recipes.load("nnunet"), models, given, run_model)
    for case in ("case_0", "case_1"):
        first, second = (read_volume(run / "masks" / f"{case}.nii.gz").array for run in made)
        expected = np.where(second == 2, 200, np.select([first == 1, first == 2], [7, 3], 0))
        assert len(np.unique(expected)) >= 3
        np.testing.assert_array_equal(read_volume(folder / f"{case}.nii.gz").array, expected)
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    assert labels == {"0": "background", "3": "b", "7": "a", "200": "d"}


def test_a_label_that_a_model_lacks_is_refused_before_any_model_runs(tmp_path):
    path = write_models(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace("d: 200", "spleen: 200"), encoding="utf-8")
    with pytest.raises(DataError, match="no such labels: received spleen, expected c, d"):
        merge_models(recipes.load("nnunet"), read_model_list(path), {"profile": "cpu"}, pytest.fail)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: []", "is not a list of models"),
        ("models: [{checkpoint: a}]", "is incomplete"),
        ("models: [{checkpoint: a, labels: {b: 256}}]", "received {'b': 256}, expected values 1 to 255"),
        ("models: [{checkpoint: a, labels: {b: 1, c: 1}}]", "the same value: received 1"),
    ],
)
def test_a_list_of_another_form_is_refused(text, message, tmp_path):
    (tmp_path / "list.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_model_list(tmp_path / "list.yaml")


def test_a_folder_that_is_not_below_the_list_keeps_its_name(tmp_path):
    (tmp_path / "list.yaml").write_text(
        "models: [{checkpoint: Dataset003_Liver, labels: {liver: 1}}]", encoding="utf-8"
    )
    assert read_model_list(tmp_path / "list.yaml") == [MergedModel("Dataset003_Liver", {"liver": 1})]
