"""Nothing that a stage executes is missing from its cache key."""

from __future__ import annotations

import pytest

from helpers import study
from helpers.run import Run
from tests.stages.executed_code import Recorder


@pytest.fixture
def recorder(monkeypatch):
    made = Recorder()
    monkeypatch.setattr(Run, "begin", lambda run, stage, title, **given: made.begin(run, stage, title, **given))
    return made


def test_of_a_run_with_pictures(run_pipeline, recorder, tmp_path):
    # One case after the other: the recorder would count what a case starts while another one is traced.
    run_pipeline(tmp_path, pictures=True, cases_in_flight=1)
    assert {"data", "export", "surgery", "compile", "parity", "infer/case_1", "score"} <= set(recorder.executed)
    assert ("helpers.inference.job", "infer_job") in recorder.executed["infer/case_1"]
    assert recorder.missing() == {}


@pytest.mark.parametrize(
    "given",
    [
        {"target": "onnxruntime"},
        {"target": "torch"},
        pytest.param({"precision": "int8", "parity_tolerance": 1.0}, marks=pytest.mark.slow),
        {"target": "ascend310p3", "device_tool": "msame"},
    ],
    ids=str,
)
def test_of_other_targets(run_pipeline, recorder, tmp_path, given):
    run_pipeline(tmp_path, cases=["case_1"], **given)
    assert recorder.missing() == {}


@pytest.mark.slow
def test_of_the_studies(run_pipeline, recorder, tmp_path):
    done = run_pipeline(tmp_path, until="compile", cases=["case_1"])
    study.study_precisions(done.recipe, done.run, always=True)
    study.bisect_device(done.recipe, done.run)
    assert {"precision", "bisect"} <= set(recorder.executed)
    assert recorder.missing() == {}
