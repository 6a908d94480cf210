"""nnU-Net's metrics per label, with its rules for empty masks, and the content of its summary.json.

Sources: MIC-DKFZ/nnUNet v1.7.1, evaluation/metrics.py and evaluation/evaluator.py; v2,
nnunetv2/evaluation/evaluate_predictions.py.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from helpers.errors import DataError

METRICS = (
    "False Positive Rate",
    "Dice",
    "Jaccard",
    "Precision",
    "Recall",
    "Accuracy",
    "False Omission Rate",
    "Negative Predictive Value",
    "False Negative Rate",
    "True Negative Rate",
    "False Discovery Rate",
    "Total Positives Test",
    "Total Positives Reference",
)

_NAMES_OF_V2 = ("Dice", "FN", "FP", "IoU", "TN", "TP", "n_pred", "n_ref")


def metrics_of_label(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The metrics of two boolean masks of the same shape, by the names in `METRICS`.

    A ratio is NaN if its denominator is zero: Dice and Jaccard if both masks are empty, precision if nothing is
    predicted, recall if there is nothing to find, and so on. The two totals are voxel counts.

    Raises:
        DataError: the shapes differ.

    >>> metrics = metrics_of_label(np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 0], bool))
    >>> metrics["Precision"], metrics["Recall"], metrics["Accuracy"]
    (0.5, 1.0, 0.75)
    """
    if prediction.shape != truth.shape:
        raise DataError("prediction and truth differ in shape", received=prediction.shape, expected=truth.shape)
    correct = int(np.count_nonzero(prediction & truth))
    predicted, wanted = int(np.count_nonzero(prediction)), int(np.count_nonzero(truth))
    false, missed = predicted - correct, wanted - correct
    empty = prediction.size - predicted - missed
    specificity = _ratio(empty, empty + false)
    precision, recall = _ratio(correct, predicted), _ratio(correct, wanted)
    omission = _ratio(missed, missed + empty)
    values = (
        1 - specificity,
        _ratio(2 * correct, predicted + wanted),
        _ratio(correct, correct + false + missed),
        precision,
        recall,
        _ratio(correct + empty, prediction.size),
        omission,
        1 - omission,
        1 - recall,
        specificity,
        1 - precision,
        float(predicted),
        float(wanted),
    )
    return dict(zip(METRICS, values, strict=True))


def metrics_of_case(
    prediction: np.ndarray, truth: np.ndarray, labels: Mapping[str, int | Sequence[int]]
) -> dict[str, dict[str, float]]:
    """The metrics of each label; several labels under one name are merged."""
    return {
        name: metrics_of_label(np.isin(prediction, label), np.isin(truth, label)) for name, label in labels.items()
    }


def mean_metrics(cases: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """The mean of each metric without NaN; NaN if it is NaN in every case."""
    names = list(cases[0]) if cases else []
    return {name: {metric: _mean([case[name][metric] for case in cases]) for metric in METRICS} for name in names}


def summary_of_cases(
    cases: Mapping[str, Mapping[str, Mapping[str, float]]], *, name: str, task: str, author: str, timestamp: str
) -> dict:
    """The content of nnU-Net v1's summary.json: every case and the means; labels are keyed by their numbers.

    Args:
        cases: metrics by case id, from `metrics_of_case`.
        name, task, author, timestamp: fields of the file's header.
    """
    rows = [{**metrics, "test": case, "reference": case} for case, metrics in cases.items()]
    results = {"all": rows, "mean": mean_metrics(list(cases.values()))}
    header = {"name": name, "description": "", "timestamp": timestamp, "task": task, "author": author}
    summary = {**header, "results": results}
    digest = hashlib.md5(json.dumps(summary).encode("utf-8"), usedforsecurity=False)
    return {**summary, "id": digest.hexdigest()[:12]}


def counts_of_case(
    prediction: np.ndarray, truth: np.ndarray, labels: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, float]]:
    """v2's metrics of each label or region of one case; Dice and IoU are NaN if both masks are empty.

    >>> counts_of_case(np.array([1, 1, 0]), np.array([1, 0, 0]), {"1": (1,)})["1"]["IoU"]
    0.5
    """
    return {name: _counts(np.isin(prediction, label), np.isin(truth, label)) for name, label in labels.items()}


def _counts(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    correct = int(np.count_nonzero(prediction & truth))
    predicted, wanted = int(np.count_nonzero(prediction)), int(np.count_nonzero(truth))
    false, missed = predicted - correct, wanted - correct
    return {
        "Dice": _ratio(2 * correct, predicted + wanted),
        "IoU": _ratio(correct, correct + false + missed),
        "FN": missed,
        "FP": false,
        "TN": prediction.size - predicted - missed,
        "TP": correct,
        "n_pred": predicted,
        "n_ref": wanted,
    }


def key_of_labels(labels: Sequence[int]) -> str:
    """v2's key of a label or a region in summary.json.

    >>> key_of_labels((1, 2, 3)), key_of_labels((3,))
    ('(1, 2, 3)', '3')
    """
    return str(labels[0]) if len(labels) == 1 else str(tuple(labels))


def summary_of_v2(cases: Mapping[str, Mapping[str, Mapping[str, float]]], suffix: str) -> dict:
    """The content of v2's summary.json: every case, the means, and the mean over the foreground.

    Args:
        cases: metrics by case id, from `counts_of_case`, keyed by `key_of_labels`.
        suffix: of the masks and labels, which the file names.
    """
    rows = [
        {"metrics": metrics, "prediction_file": f"{case}{suffix}", "reference_file": f"{case}{suffix}"}
        for case, metrics in cases.items()
    ]
    labels = list(next(iter(cases.values())))
    means = {
        label: {name: _mean([case[label][name] for case in cases.values()]) for name in _NAMES_OF_V2}
        for label in labels
    }
    foreground = [label for label in labels if label != "0"]
    overall = {name: float(np.mean([means[label][name] for label in foreground])) for name in _NAMES_OF_V2}
    return {"foreground_mean": overall, "mean": means, "metric_per_case": rows}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
