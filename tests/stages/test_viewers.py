"""The interactive view of a case in a notebook."""

from __future__ import annotations

import pytest

from helpers import stages
from helpers.errors import DataError
from helpers.run import StageResult
from helpers.stages import viewers
from tests.stages.pipeline import QUICK


@pytest.fixture
def opened(run_pipeline, outputs, monkeypatch):
    """A run whose second case has the lowest score, and a function that returns the id of the case that opens."""
    done = run_pipeline(outputs, until="score", **QUICK)
    scored: StageResult = done.run.results["score"]
    scored.values["cases"]["case_2"]["cube"] = 0.1
    monkeypatch.setattr(viewers, "is_interactive", lambda _: True)
    monkeypatch.setattr(viewers, "volume", lambda *_, case_id, **given: case_id)
    return lambda *case: stages.open_case(done.recipe, done.run, *case)


def test_the_worst_case_opens_first_and_any_other_by_its_id(opened):
    assert opened() == "case_2"
    assert opened("case_3") == "case_3"


def test_an_unknown_case_is_refused_with_the_nearest(opened):
    with pytest.raises(DataError, match="Did you mean 'case_3'"):
        opened("case_33")
