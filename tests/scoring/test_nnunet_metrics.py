"""nnU-Net's metrics equal their definitions voxel by voxel, and are NaN if there is nothing to divide by."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, write_volume
from helpers.errors import DataError
from helpers.scoring.nnunet_metrics import METRICS, mean_metrics, metrics_of_case, metrics_of_label, summary_of_cases

EYE = (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)


def by_definition(prediction, truth):
    tp = fp = fn = tn = 0
    for ours, theirs in zip(prediction.ravel(), truth.ravel(), strict=True):
        tp, fp = tp + (ours and theirs), fp + (ours and not theirs)
        fn, tn = fn + (theirs and not ours), tn + (not ours and not theirs)

    def ratio(part, whole):
        return part / whole if whole else math.nan

    return {
        "False Positive Rate": ratio(fp, fp + tn),
        "Dice": ratio(2 * tp, 2 * tp + fp + fn),
        "Jaccard": ratio(tp, tp + fp + fn),
        "Precision": ratio(tp, tp + fp),
        "Recall": ratio(tp, tp + fn),
        "Accuracy": ratio(tp + tn, tp + tn + fp + fn),
        "False Omission Rate": ratio(fn, fn + tn),
        "Negative Predictive Value": ratio(tn, fn + tn),
        "False Negative Rate": ratio(fn, tp + fn),
        "True Negative Rate": ratio(tn, fp + tn),
        "False Discovery Rate": ratio(fp, tp + fp),
        "Total Positives Test": tp + fp,
        "Total Positives Reference": tp + fn,
    }


def pairs():
    random = np.random.default_rng(3)
    for share in (0.0, 0.02, 0.5, 1.0):
        for other in (0.0, 0.1, 1.0):
            yield random.random((3, 4, 5)) < share, random.random((3, 4, 5)) < other


@pytest.mark.parametrize(("prediction", "truth"), list(pairs()))
def test_metrics_equal_their_definitions(prediction, truth):
    metrics = metrics_of_label(prediction, truth)
    assert tuple(metrics) == METRICS
    for name, value in by_definition(prediction, truth).items():
        np.testing.assert_allclose(metrics[name], value, rtol=0, atol=1e-12, equal_nan=True, err_msg=name)


def test_two_empty_masks_have_no_dice_and_full_accuracy():
    metrics = metrics_of_label(np.zeros((2, 2), bool), np.zeros((2, 2), bool))
    unknown = {name for name, value in metrics.items() if math.isnan(value)}
    assert unknown == {"Dice", "Jaccard", "Precision", "Recall", "False Negative Rate", "False Discovery Rate"}
    assert metrics["Accuracy"] == 1.0


def test_means_leave_out_nan():
    empty, full = np.zeros(4, np.uint8), np.array([0, 1, 1, 2], np.uint8)
    cases = [metrics_of_case(full, full, {"1": 1, "2": 2}), metrics_of_case(empty, empty, {"1": 1, "2": 2})]
    means = mean_metrics(cases)
    assert means["1"]["Dice"] == 1.0
    assert means["1"]["Total Positives Test"] == 1.0  # counts are always known: (2 + 0) / 2
    assert math.isnan(mean_metrics(cases[1:])["2"]["Dice"])


def test_labels_may_be_grouped():
    truth, prediction = np.array([0, 1, 2, 2]), np.array([0, 2, 1, 0])
    assert metrics_of_case(prediction, truth, {"liver": (1, 2)})["liver"]["Recall"] == pytest.approx(2 / 3)


def test_the_summary_has_the_keys_of_nnunet():
    mask = np.array([0, 1, 1], np.uint8)
    metrics = {"liver_11": metrics_of_case(mask, mask, {"0": 0, "1": 1})}
    summary = summary_of_cases(metrics, name="n", task="Task003_Liver", author="a", timestamp="2026")
    assert set(summary) == {"name", "description", "timestamp", "task", "author", "results", "id"}
    assert len(summary["id"]) == 12
    assert summary["results"]["all"][0]["test"] == "liver_11"
    assert json.loads(json.dumps(summary))["results"]["mean"]["1"]["Dice"] == 1.0


def test_other_shapes_are_refused():
    with pytest.raises(DataError, match="differ in shape"):
        metrics_of_label(np.zeros(3, bool), np.zeros(4, bool))


def test_counts_overlaps_and_nan_equal_nnunet_v2(tmp_path):
    evaluation = pytest.importorskip("nnunetv2.evaluation.evaluate_predictions")
    reader = pytest.importorskip("nnunetv2.imageio.simpleitk_reader_writer").SimpleITKIO()
    random = np.random.default_rng(7)
    unknown = 0
    for share in (0.0, 0.0, 0.0, 0.01, 0.05, 0.1, 0.3, 0.4, 0.5, 0.7, 0.9, 1.0):
        pair = [random.integers(1, 3, (6, 7, 8)) * (random.random((6, 7, 8)) < part) for part in (share, share / 2)]
        paths = [str(tmp_path / name) for name in ("truth.nii.gz", "prediction.nii.gz")]
        for path, labels in zip(paths, pair, strict=True):
            write_volume(path, Volume(labels.astype(np.uint8), Geometry(labels.shape, (1.0,) * 3, (0.0,) * 3, EYE)))
        theirs = evaluation.compute_metrics(*paths, reader, [1, 2])["metrics"]
        for label in (1, 2):
            ours, counts = metrics_of_label(pair[1] == label, pair[0] == label), theirs[label]
            pairs_of = [(ours["Dice"], counts["Dice"]), (ours["Jaccard"], counts["IoU"])]
            pairs_of += [(ours["Total Positives Test"], counts["n_pred"])]
            pairs_of += [(ours["Total Positives Reference"], counts["n_ref"])]
            pairs_of += [(ours["Accuracy"], (counts["TP"] + counts["TN"]) / pair[0].size)]
            np.testing.assert_allclose(*zip(*pairs_of, strict=True), rtol=0, atol=1e-12, equal_nan=True)
            unknown += math.isnan(counts["Dice"])
    assert unknown >= 2
