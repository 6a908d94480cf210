"""The source's own score can be switched off, and is bounded by the time that the masks took."""

from __future__ import annotations

import pytest

from helpers import stages
from helpers.inference.time_limit import seconds_left, while_time_lasts
from helpers.recipes.base import SourceScores

QUICK = {"cases": ["case_1"], "simplify_timeout_s": 0.001}


@pytest.fixture
def asked(tiny, monkeypatch):
    """The seconds that each call of the recipe's score had."""
    seconds = []

    def score_as_source(self, cases, predictor, params):
        seconds.append(seconds_left(predictor))
        done = while_time_lasts(cases, lambda case: case.id, predictor)
        return SourceScores({"row": {"figure": float(len(done))}}, "why", f"{len(done)} of {len(cases)} cases")

    monkeypatch.setattr(tiny.module.TinyScoring, "score_as_source", score_as_source)
    return seconds


def stage_of(run_pipeline, folder, **given):
    done = run_pipeline(folder, until="infer", **QUICK, **given)
    return done, stages.score_as_source(done.recipe, done.run)


def test_it_has_less_time_than_the_masks_took(asked, run_pipeline, tmp_path):
    done, result = stage_of(run_pipeline, tmp_path)
    masks = done.run.results["infer/case_1"].timings
    assert 0 < asked[0] <= 0.8 * sum(masks[step] for step in ("read", "open", "infer", "write"))
    assert result.values["rows"] == {"row": {"figure": 1.0}} and result.facts["computed on"] == "1 of 1 cases"


def test_out_of_time_is_said_and_does_not_fail_the_run(asked, run_pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(stages.score, "_SHARE_OF_MASKS", 0.0)
    _, result = stage_of(run_pipeline, tmp_path)
    assert result.values["rows"] == {}
    assert "takes longer than the masks did. Set source_score: complete" in result.facts["why"]


def test_complete_has_no_limit_and_skip_computes_nothing(asked, run_pipeline, tmp_path):
    stage_of(run_pipeline, tmp_path / "a", source_score="complete")
    assert asked == [float("inf")]
    _, result = stage_of(run_pipeline, tmp_path / "b", source_score="skip")
    assert len(asked) == 1 and result.facts == {"source's score": "skipped (source_score)"}
