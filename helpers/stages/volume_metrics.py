"""Surface, volume and lesion metrics of a run's cases: measured, averaged, with intervals, and put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from helpers.data.case import Case
from helpers.recipes.base import Recipe
from helpers.run import Check, Run
from helpers.scoring.bootstrap import FEWEST_CASES, mean_interval
from helpers.scoring.dice import mean_of_known
from helpers.scoring.volume_metrics import (
    METRICS,
    CaseMetrics,
    StructureRule,
    measure_case,
    metric_name,
    metric_names,
)
from helpers.stages.infer import mask_name
from helpers.stages.labels import run_labels


def measure_volume(recipe: Recipe, run: Run, case: Case, prediction: np.ndarray) -> CaseMetrics | None:
    """The metrics of a case that has a truth; None for a picture, or if the run measures none."""
    rules = recipe.metric_rules(run.params)
    if case.geometry is None or not rules:
        return None
    truth, ignore = case.require_truth(), run_labels(recipe, run).ignore
    if ignore is not None:  # such voxels are outside in both, so that no surface is there that the other lacks
        prediction, truth = (np.where(truth == ignore, 0, volume) for volume in (prediction, truth))
    structures = recipe.scoring.structures(run.params)
    found = measure_case(
        prediction.astype(np.uint8), truth.astype(np.uint8), structures, rules, case.geometry.spacing_mm_zyx
    )
    errors = recipe.scoring.calibration(case, run.path(mask_name(recipe, run, case.id)), run.params)
    return replace(found, values=found.values | {metric_name("ECE", name): each for name, each in errors.items()})


def summarise(
    rules: Mapping[str, StructureRule],
    measured: Mapping[str, CaseMetrics],
    scores: Mapping[str, Mapping[str, float | None]],
    counted: Sequence[str],
) -> dict[str, Any]:
    """The content of `volume_metrics` in `metrics.json`.

    Args:
        rules: by structure.
        measured: by case.
        scores: the recipe's scores by case, which get an interval too.
        counted: the cases that count in means.

    Returns:
        `rules`, `cases`, `lesions` and `empty` as measured; `mean` of each metric over the cases that have it; and
        `intervals`, the 95 % intervals of the means of scores and metrics, None if there are too few cases.
    """
    cases = {case: {name: _rounded(value) for name, value in own.values.items()} for case, own in measured.items()}
    counting = [case for case in counted if case in cases]
    names = metric_names(rules)
    columns = {name: [cases[case].get(name) for case in counting] for name in names}
    of_scores = {name: [scores[case][name] for case in counting] for name in next(iter(scores.values()), {})}
    return {
        "rules": {name: rule.to_json() for name, rule in rules.items()},
        "cases": cases,
        "mean": {name: _rounded(mean_of_known(values)) for name, values in columns.items()},
        "intervals": {name: _interval(values) for name, values in {**of_scores, **columns}.items()},
        "empty": {name: _count_empty(name, measured, counting) for name in rules},
        "lesions": {case: own.lesions for case, own in measured.items() if own.lesions},
    }


def describe(summary: Mapping[str, Any], counted: Sequence[str]) -> dict[str, object]:
    """The rows of the stage's table: one or two for each structure."""
    facts: dict[str, object] = {}
    for name, rule in summary["rules"].items():
        shown = [_show(summary, metric, name, rule) for metric in METRICS if not metric.startswith("lesion")]
        facts[f"{name}: surface"] = ", ".join(filter(None, shown)) + _show_empty(summary["empty"][name])
        if rule["lesions"]:
            totals = [summary["lesions"][case][name] for case in counted if case in summary["lesions"]]
            numbers = ", ".join(
                f"{sum(each[kind] for each in totals)} {kind}" for kind in ("found", "missed", "false")
            )
            shown = [_show(summary, metric, name, rule) for metric in METRICS if metric.startswith("lesion")]
            facts[f"{name}: lesions"] = f"{', '.join(filter(None, shown))}; {numbers}"
    if summary["rules"] and len(counted) < FEWEST_CASES:
        facts["intervals"] = f"none: {len(counted)} cases, at least {FEWEST_CASES} are needed"
    return facts


def judge_maximum(name: str, mean: float | None, limit: float, count: int) -> Check:
    """The gate of `maximum_scores` for one metric."""
    passed = mean is not None and abs(mean) <= limit
    shown = "nothing to find" if mean is None else f"{mean:.4f}"
    return Check(f"{name} over {count} case{'' if count == 1 else 's'}", passed, f"{shown}, at most {limit:g}")


def _interval(values: Sequence[float | None]) -> list[float] | None:
    known = [value for value in values if value is not None]
    found = mean_interval(np.array(known)) if len(known) >= FEWEST_CASES else None
    return None if found is None else [round(limit, 6) for limit in found]


def _count_empty(name: str, measured: Mapping[str, CaseMetrics], counted: Sequence[str]) -> dict[str, int]:
    which = [measured[case].empty.get(name) for case in counted]
    return {kind: which.count(kind) for kind in ("both", "prediction", "truth")}


def _show(summary: Mapping[str, Any], metric: str, name: str, rule: Mapping[str, Any]) -> str:
    full = metric_name(metric, name)
    if full not in summary["mean"]:
        return ""
    value, interval, unit = summary["mean"][full], summary["intervals"][full], METRICS[metric].unit
    text = "nothing to find" if value is None else f"{value:.3f}{f' {unit}' if unit else ''}"
    spread = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    within = f" within {rule['tolerance_mm']:g} mm" if metric == "NSD" else ""
    return f"{metric} {text}{spread}{within}"


def _show_empty(empty: Mapping[str, int]) -> str:
    words = {"both": "both masks", "prediction": "only the prediction", "truth": "only the truth"}
    found = [f"{words[kind]} in {count}" for kind, count in empty.items() if count]
    return f"; empty: {', '.join(found)}" if found else ""


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
