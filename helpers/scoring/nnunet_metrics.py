"""nnU-Net's thirteen metrics of one label, with its rules for empty masks, and the summary.json that holds them.

Source: MIC-DKFZ/nnUNet v1.7.1, evaluation/metrics.py and evaluation/evaluator.py.
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


def metrics_of_label(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The thirteen metrics of two boolean masks of one shape, by `METRICS`.

    A ratio whose denominator is zero is NaN: Dice and Jaccard where both masks are empty, precision where nothing is
    predicted, recall where there is nothing to find, and so on. The two totals are counts of voxels.

    Raises:
        DataError: the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise DataError("prediction and truth differ in shape", received=prediction.shape, expected=truth.shape)
    right = int(np.count_nonzero(prediction & truth))
    predicted, wanted = int(np.count_nonzero(prediction)), int(np.count_nonzero(truth))
    false, missed = predicted - right, wanted - right
    empty = prediction.size - predicted - missed
    specificity = _ratio(empty, empty + false)
    precision, recall = _ratio(right, predicted), _ratio(right, wanted)
    omission = _ratio(missed, missed + empty)
    values = (
        1 - specificity,
        _ratio(2 * right, predicted + wanted),
        _ratio(right, right + false + missed),
        precision,
        recall,
        _ratio(right + empty, prediction.size),
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
    """The thirteen metrics of each label, or of each group of labels taken as one."""
    return {
        name: metrics_of_label(np.isin(prediction, label), np.isin(truth, label)) for name, label in labels.items()
    }


def mean_metrics(cases: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """The mean of each metric over the cases where it is a number; NaN where it never is."""
    names = list(cases[0]) if cases else []
    return {name: {metric: _mean([case[name][metric] for case in cases]) for metric in METRICS} for name in names}


def summary_of_cases(
    cases: Mapping[str, Mapping[str, Mapping[str, float]]], *, name: str, task: str, author: str, timestamp: str
) -> dict:
    """What nnU-Net v1 writes to summary.json: every case, then the means; labels are keyed by their numbers.

    Args:
        cases: metrics by case id, as `metrics_of_case` gives them.
        name, task, author, timestamp: texts of the header.
    """
    rows = [{**metrics, "test": case, "reference": case} for case, metrics in cases.items()]
    results = {"all": rows, "mean": mean_metrics(list(cases.values()))}
    summary = {"name": name, "description": "", "timestamp": timestamp, "task": task, "author": author}
    summary["results"] = results
    digest = hashlib.md5(json.dumps(summary).encode("utf-8"), usedforsecurity=False)
    return {**summary, "id": digest.hexdigest()[:12]}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
