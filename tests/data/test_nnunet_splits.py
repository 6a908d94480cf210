"""What a fold held out is what the training's own files say; it is computed only without any."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from helpers.data.nnunet.splits import find_held_out, split_fold
from helpers.errors import DataError

IDS = [f"case_{index}" for index in range(7)]
SPLITS = [{"train": IDS[:5], "val": ["case_6", "case_5"]}, {"train": IDS[2:], "val": IDS[:2]}]


@pytest.fixture()
def places(tmp_path):
    """A model folder below nnU-Net's results, a data set, and the preprocessed folder."""
    model = tmp_path / "results" / "Dataset003_Liver" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    data, preprocessed = tmp_path / "Task03_Liver", tmp_path / "preprocessed"
    for folder in (model / "fold_0", data, preprocessed / "Dataset003_Liver", preprocessed / "Dataset030_Other"):
        folder.mkdir(parents=True)
    (model / "plans.json").write_text(json.dumps({"dataset_name": "Dataset003_Liver"}), encoding="utf-8")
    return model, data, preprocessed


def held_out(places, fold=0, ids=IDS):
    model, data, preprocessed = places
    return find_held_out(fold, model, data, ids, environment={"nnUNet_preprocessed": str(preprocessed)})


@pytest.mark.parametrize("place", ["model", "parent", "preprocessed", "data"])
def test_the_file_decides_wherever_it_is(places, place):
    model, data, preprocessed = places
    folders = {"model": model, "parent": model.parent, "data": data}
    folder = folders.get(place, preprocessed / "Dataset003_Liver")
    (folder / "splits_final.json").write_text(json.dumps(SPLITS), encoding="utf-8")
    found = held_out(places)
    assert found.ids == ("case_5", "case_6") != tuple(split_fold(IDS, 0)[1])
    assert found.source == str(folder / "splits_final.json")
    assert held_out(places, 1).ids == ("case_0", "case_1")


def test_a_plan_without_a_name_is_found_by_the_data_sets_number(places):
    model, _, preprocessed = places
    (model / "plans.json").unlink()
    (preprocessed / "Dataset003_Liver" / "splits_final.json").write_text(json.dumps(SPLITS), encoding="utf-8")
    assert held_out(places).ids == ("case_5", "case_6")


@pytest.mark.parametrize("version", ["validation", "validation_raw"])
def test_without_a_file_the_folds_own_validation_names_them(places, version):
    folder = places[0] / "fold_0" / version
    folder.mkdir()
    for name in ("case_2.nii.gz", "case_4.nii.gz", "summary.json", "case_2.npz"):
        (folder / name).touch()
    found = held_out(places)
    assert found.ids == ("case_2", "case_4") and "fold_0" in found.source


def test_a_split_is_computed_only_without_any(places):
    found = held_out(places)
    assert found.ids == tuple(split_fold(IDS, 0)[1]) and "computed" in found.source


@pytest.mark.parametrize("fold", [2, 4])
def test_a_fold_beyond_the_file_is_nnunets_random_split(places, fold):
    (places[0] / "splits_final.json").write_text(json.dumps(SPLITS), encoding="utf-8")
    keys = np.sort(list(IDS))  # nnUNetTrainer.do_split
    trained = np.random.RandomState(seed=12345 + fold).choice(len(keys), int(len(keys) * 0.8), replace=False)
    assert held_out(places, fold).ids == tuple(keys[i] for i in range(len(keys)) if i not in trained)


def test_a_pickle_of_v1_is_read(places):
    splits = [{"train": np.array(IDS[:5]), "val": np.array(IDS[5:])}]
    (places[0] / "splits_final.pkl").write_bytes(pickle.dumps(splits))
    assert held_out(places).ids == ("case_5", "case_6")


@pytest.mark.parametrize("text", ["", "{}", '["case_1"]', '[{"train": []}]'])
def test_another_file_is_refused_by_name(places, text):
    (places[0] / "splits_final.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"splits_final\.json is not a list of splits"):
        held_out(places)
