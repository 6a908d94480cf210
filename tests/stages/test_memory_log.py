"""The memory estimate of a run and a reduced batch are in its log, and the user is warned."""

from __future__ import annotations

import pytest

from helpers.inference import WindowPlan
from helpers.inference.budget import estimate_memory


def test_a_batch_that_does_not_fit_is_reduced_logged_and_warned_of(run_pipeline, outputs, monkeypatch):
    plan = WindowPlan((16, 16, 16), 2, batch_size=4)
    shape = (1, 24, 24, 24)
    between = (estimate_memory(shape, plan).ram_bytes + estimate_memory(shape, plan, 2).ram_bytes) // 2
    monkeypatch.setattr("helpers.inference.budget.available_ram_bytes", lambda: between - 4 * 24**3)
    with pytest.warns(UserWarning, match="batch size 4 does not fit in memory"):
        done = run_pipeline(outputs, until="infer", cases=["case_1"], batch_size=4)
    lines = done.run.path("run.log").read_text(encoding="utf-8").splitlines()
    (estimate,) = [line for line in lines if "estimated inference: 8 windows" in line]
    (reduction,) = [line for line in lines if "batch size 4 does not fit in memory; using" in line]
    assert " INFO " in estimate and " WARNING " in reduction
