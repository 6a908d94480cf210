"""Surface and lesion metrics in `metrics.json`, in the stage's table and in gates."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import recipes
from helpers.data.case import Case
from helpers.data.geometry import Geometry
from helpers.errors import ParameterError
from helpers.recipes.nnunet_heart import HeartScoring
from helpers.scoring.lesions import LesionRule
from helpers.scoring.volume_metrics import CaseMetrics, StructureRule, metric_names
from helpers.stages import volume_metrics
from helpers.stages.volume_metrics import describe, judge_maximum, measure_volume, summarise

RULES = {"liver": StructureRule(7.0, LesionRule())}
NAMES = metric_names(RULES)


def _summary(count: int) -> dict:
    random = np.random.default_rng(3)
    measured = {}
    for index in range(count):
        values = dict(zip(NAMES, random.uniform(0, 1, len(NAMES)).tolist(), strict=True))
        empty = {}
        if index == 0:
            empty = {"liver": "both"}
            values |= dict.fromkeys(NAMES[:4])
        measured[f"c{index}"] = CaseMetrics(values, empty, {"liver": {"found": 1, "missed": 0, "false": index}})
    scores = {case: {"liver": 0.1 * index} for index, case in enumerate(measured)}
    return summarise(RULES, measured, scores, list(measured)[:-1])


def test_means_leave_out_empty_cases_and_those_that_do_not_count():
    summary = _summary(8)
    counted = [summary["cases"][f"c{index}"]["NSD liver"] for index in range(1, 7)]
    assert summary["mean"]["NSD liver"] == pytest.approx(np.mean(counted), abs=1e-6)
    assert summary["empty"] == {"liver": {"both": 1, "prediction": 0, "truth": 0}}
    low, high = summary["intervals"]["NSD liver"]
    assert low < summary["mean"]["NSD liver"] < high and summary["intervals"]["liver"] is not None
    assert json.loads(json.dumps(summary)) == summary == _summary(8)  # JSON values, equal each time


def test_few_cases_have_no_interval_and_the_table_says_so():
    summary = _summary(5)
    assert set(summary["intervals"].values()) == {None}
    facts = describe(summary, [f"c{index}" for index in range(4)])
    assert facts["intervals"] == "none: 4 cases, at least 5 are needed"
    assert "within 7 mm" in facts["liver: surface"] and "empty: both masks in 1" in facts["liver: surface"]
    assert facts["liver: lesions"].endswith("4 found, 0 missed, 6 false")


def test_a_maximum_is_a_gate():
    assert judge_maximum("HD95 liver", 4.0, 5.0, 2).passed
    for mean in (6.0, None):
        assert not judge_maximum("HD95 liver", mean, 5.0, 2).passed
    assert not judge_maximum("volume difference liver", -6.0, 5.0, 2).passed


def _measure(monkeypatch, ignore=None, geometry=True, **given):
    truth = np.zeros((6, 10, 12), np.uint8)
    truth[1:5, 2:8, 2:8] = 1
    prediction = truth.copy()
    truth[:, :, 9:] = 2
    grid = Geometry.identity(truth.shape) if geometry else None
    recipe = recipes.load("nnunet_heart")
    run = SimpleNamespace(params=recipe.prepare_params(**given), path=Path)
    monkeypatch.setattr(volume_metrics, "run_labels", lambda *_: SimpleNamespace(ignore=ignore))
    return measure_volume(recipe, run, Case("a", truth[None].astype(float), truth, grid), prediction)


def test_ignored_voxels_are_outside_in_both(monkeypatch):
    assert _measure(monkeypatch, ignore=2).values["NSD atrium"] == 1.0
    assert set(_measure(monkeypatch).values) == {
        "NSD atrium", "HD95 atrium", "ASSD atrium", "volume difference atrium",
    }  # fmt: skip


def test_probabilities_are_calibrated_where_they_are_saved(monkeypatch):
    monkeypatch.setattr(HeartScoring, "calibration", lambda *_: {"atrium": 0.125})
    found = _measure(monkeypatch, save_softmax=True)
    assert found.values["ECE atrium"] == 0.125
    rules = recipes.load("nnunet_heart").metric_rules(recipes.load("nnunet_heart").prepare_params(save_softmax=True))
    assert "ECE atrium" in metric_names(rules) and metric_names(rules) == tuple(found.values)


def test_pictures_and_runs_without_metrics_measure_none(monkeypatch):
    assert _measure(monkeypatch, geometry=False) is None
    assert _measure(monkeypatch, volume_metrics=False) is None
    assert recipes.load("unet_carvana").metric_rules(recipes.load("unet_carvana").prepare_params()) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"minimum_scores": {"NSD atrum": 0.9}}, r"unknown score 'NSD atrum'.*'NSD atrium'"),
        ({"minimum_scores": {"HD95 atrium": 0.9}}, "unknown score 'HD95 atrium' in minimum_scores"),
        ({"maximum_scores": {"NSD atrium": 0.9}}, "unknown metric 'NSD atrium' in maximum_scores"),
        ({"maximum_scores": {"HD95 atrium": -1.0}}, "'HD95 atrium' in maximum_scores is negative"),
        ({"nsd_tolerance_mm": {"liver": 3.0}}, "unknown label or region 'liver' in nsd_tolerance_mm"),
        ({"lesion_labels": ["liver"]}, "unknown label or region 'liver' in lesion_labels"),
        ({"volume_metrics": False, "minimum_scores": {"NSD atrium": 0.9}}, "unknown score 'NSD atrium'"),
    ],
)
def test_wrong_names_are_refused_before_any_work(given, message):
    with pytest.raises(ParameterError, match=message):
        recipes.load("nnunet_heart").prepare_params(**given)


def test_a_run_sets_its_own_tolerance_and_lesions():
    recipe = recipes.load("nnunet_heart")
    params = recipe.prepare_params(nsd_tolerance_mm={"atrium": 1.5}, lesion_labels=["atrium"])
    assert recipe.metric_rules(params) == {"atrium": StructureRule(1.5, LesionRule())}
    assert recipe.metric_rules(recipe.prepare_params()) == {"atrium": StructureRule(4.0)}
