"""summary.json of a v2 folder holds the numbers of `nnUNetv2_evaluate_folder`: labels, regions and ignored voxels."""

from __future__ import annotations

import json
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.data.geometry import Geometry
from helpers.data.nnunet.labels import labels_of_v2
from helpers.data.volume import Volume, write_volume
from helpers.run.atomic import write_json
from helpers.scoring.dice import without_ignored
from helpers.scoring.nnunet_metrics import counts_of_case, key_of_labels, summary_of_v2

evaluation = pytest.importorskip("nnunetv2.evaluation.evaluate_predictions")

LABELS = {
    "plain": {"labels": {"background": 0, "tumour": 1, "liver": 2}},
    "regions": {
        "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3},
        "regions_class_order": [1, 2, 3],
    },
    "ignore": {"labels": {"background": 0, "liver": 1, "cancer": 2, "ignore": 3}},
    "regions and ignore": {
        "labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3},
        "regions_class_order": [1, 2],
    },
}


@pytest.mark.parametrize("kind", LABELS)
def test_numbers_are_those_of_nnunet(kind, tmp_path, monkeypatch):
    dataset = {**LABELS[kind], "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}
    labels = labels_of_v2(dataset)
    scored = dict(labels.regions) or {name: (index,) for index, name in enumerate(labels.names) if index}
    figures, random = {}, np.random.default_rng(5)
    for case, share in (("a", 0.3), ("b", 0.0), ("c", 0.7)):
        truth = random.integers(0, len(labels.names) + (labels.ignore is not None), (6, 7, 8))
        prediction = random.integers(0, len(labels.names), truth.shape)
        for folder, array in (("truth", truth), ("masks", prediction)):
            array[random.random(truth.shape) > share] = 0
            (tmp_path / folder).mkdir(exist_ok=True)
            volume = Volume(array.astype(np.uint8), Geometry.identity(array.shape))
            write_volume(tmp_path / folder / f"{case}.nii.gz", volume)
        pair = without_ignored(prediction, truth, labels.ignore)
        figures[case] = counts_of_case(*pair, {key_of_labels(each): each for each in scored.values()})
    write_json(tmp_path / "summary.json", summary_of_v2(figures, ".nii.gz"))
    theirs = their_summary(tmp_path, dataset, monkeypatch)
    ours = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert_same(ours["mean"], theirs["mean"])
    assert_same({"all": ours["foreground_mean"]}, {"all": theirs["foreground_mean"]})
    for mine, other in zip(ours["metric_per_case"], theirs["metric_per_case"], strict=True):
        assert other["prediction_file"].endswith(mine["prediction_file"])
        assert_same(mine["metrics"], other["metrics"])


def their_summary(root, dataset, monkeypatch):
    """The file that nnU-Net's command writes, with threads in place of its processes."""
    plans = {"plans_name": "nnUNetPlans", "label_manager": "LabelManager", "dataset_name": "Dataset003_Liver"}
    (root / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
    (root / "plans.json").write_text(json.dumps(plans), encoding="utf-8")
    threads = SimpleNamespace(get_context=lambda _: SimpleNamespace(Pool=ThreadPool))
    monkeypatch.setattr(evaluation, "multiprocessing", threads)
    files = [str(root / name) for name in ("dataset.json", "plans.json", "theirs.json")]
    with np.errstate(all="ignore"):
        evaluation.compute_metrics_on_folder2(str(root / "truth"), str(root / "masks"), *files, num_processes=1)
    return json.loads((root / "theirs.json").read_text(encoding="utf-8"))


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for label, metrics in ours.items():
        assert metrics.keys() == theirs[label].keys()
        for name, value in metrics.items():
            np.testing.assert_allclose(value, theirs[label][name], rtol=0, atol=1e-12, equal_nan=True)
