"""A cell that is run before the one it needs says which one that is."""

from __future__ import annotations

import pytest

from helpers import stages, study
from helpers.errors import CompileError, StepOrderError


@pytest.mark.parametrize(
    ("step", "needed"),
    [
        (stages.simplify_onnx, "stages.export_onnx"),
        (stages.apply_surgery, "stages.simplify_onnx"),
        (stages.inspect_graph, "stages.apply_surgery"),
        (stages.compile_model, "stages.apply_surgery"),
        (stages.check_model_parity, "stages.export_onnx"),
        (stages.score_cases, "stages.infer_cases"),
    ],
)
def test_the_step_to_run_first_is_named(run_pipeline, tmp_path, step, needed):
    done = run_pipeline(tmp_path, until="data")
    with pytest.raises(StepOrderError, match=f"{needed} first"):
        step(done.recipe, done.run)


def test_inference_without_a_compiled_model_names_the_compile_stage(run_pipeline, tmp_path):
    done = run_pipeline(tmp_path, until="data")
    with pytest.raises(CompileError, match="compile stage first"):
        stages.infer_cases(done.recipe, done.run)


@pytest.mark.parametrize("step", [stages.exchange_with_tool, stages.infer_cases])
def test_a_device_tool_without_a_graph_names_the_step_that_makes_it(run_pipeline, tmp_path, step):
    done = run_pipeline(tmp_path, until="data", target="ascend310p3", device_tool="msame")
    with pytest.raises(StepOrderError, match=r"stages\.apply_surgery first"):
        step(done.recipe, done.run)


@pytest.mark.parametrize("step", [study.bisect_device, lambda *run: study.study_precisions(*run, always=True)])
def test_a_study_without_a_graph_names_the_step_that_makes_it(run_pipeline, tmp_path, step):
    done = run_pipeline(tmp_path, until="data")
    with pytest.raises(StepOrderError, match=r"stages\.apply_surgery first"):
        step(done.recipe, done.run)
