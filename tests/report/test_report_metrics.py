"""The tables of surface and lesion metrics in a report: every case, means, intervals, and what was empty."""

from __future__ import annotations

import copy

import pytest

from helpers.report.anonymous import Anonymiser, AsRecorded
from helpers.report.metrics import structure_tables
from helpers.scoring.lesions import LesionRule
from helpers.scoring.volume_metrics import METRICS, CaseMetrics, StructureRule, metric_names
from helpers.stages.volume_metrics import summarise

RULES = {"tumour of Meier": StructureRule(1.5, LesionRule(), has_probabilities=True)}
NAMES = metric_names(RULES)


@pytest.fixture
def metrics():
    measured = {
        f"Meier{index}": CaseMetrics(
            {name: None if index == 0 and place < 4 else 0.25 + index for place, name in enumerate(NAMES)},
            {"tumour of Meier": "both"} if index == 0 else {},
            {"tumour of Meier": {"found": 2, "missed": 1, "false": index}},
        )
        for index in range(6)
    }
    scores = {case: {"tumour of Meier": 0.5} for case in measured}
    return summarise(RULES, measured, scores, list(measured))


def test_every_metric_has_a_column_and_every_case_a_row(metrics):
    (table,) = structure_tables(metrics, ["Meier5", "Meier0", "no mask"], AsRecorded())
    assert [name.partition(",")[0] for name in table["header"]] == list(METRICS)
    assert [case for case, _ in table["rows"]] == ["Meier5", "Meier0"]
    assert table["rows"][1][1][:4] == ["–"] * 4 and table["rows"][0][1] == ["5.250"] * 8
    assert table["mean"] == ["3.250"] * 4 + ["2.750"] * 4
    assert all(" to " in interval for interval in table["interval"])
    assert table["notes"] == [
        "NSD within 1.5 mm.",
        "1 case(s): both masks are empty.",
        "Lesions larger than 50 mm³ in all cases: 12 found, 6 missed, 15 false.",
    ]


def test_too_few_cases_are_said(metrics):
    few = copy.deepcopy(metrics)
    few["intervals"] = dict.fromkeys(few["intervals"])
    (table,) = structure_tables(few, ["Meier5"], AsRecorded())
    assert set(table["interval"]) == {"–"} and table["notes"][-1] == "Too few cases for intervals."


def test_names_of_cases_are_removed(metrics):
    (table,) = structure_tables(metrics, ["Meier5", "Meier0"], Anonymiser(["Meier5", "Meier0"], []))
    assert not any("Meier" in case for case, _ in table["rows"])


def test_runs_without_metrics_have_no_table():
    assert structure_tables({}, ["a"], AsRecorded()) == []
