"""Cache keys cover what a stage depends on in addition to files and parameters."""

from __future__ import annotations

from helpers import stages, study
from helpers.compile.openvino import OpenVinoCompiler


def test_calibration_windows_of_another_plan_are_not_reused(tiny, tmp_path, monkeypatch):
    recipe, run = stages.start_run("tiny", {"outputs": str(tmp_path)})
    stages.prepare_data(recipe, run)
    stages.prepare_calibration(recipe, run)
    assert stages.prepare_calibration(recipe, run).status == "reused"
    monkeypatch.setattr(type(recipe.model), "cache_key_extras", lambda self, params: {"plan": "another"})
    assert stages.prepare_calibration(recipe, run).status == "made"


def test_a_calibration_set_of_scored_cases_says_so_also_if_it_is_reused(tiny, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    tiny.module.RECIPE.cases.write_demo_cases(root, [1, 2])
    given = {"outputs": str(tmp_path), "data_root": str(root), "calibration_cases": "case_2"}
    for cases, flattered in ((["case_1"], []), (["case_2"], ["case_2"])):
        recipe, run = stages.start_run("tiny", {**given, "cases": cases})
        assert stages.prepare_calibration(recipe, run).values["also_scored"] == flattered


def test_a_precision_study_is_remade_for_another_plan_or_compiler(run_pipeline, tmp_path, monkeypatch):
    done = run_pipeline(tmp_path / "out", until="surgery", cases=["case_1"], simplify_timeout_s=0.001)
    keys = []
    monkeypatch.setattr(done.run, "perform", lambda *_, inputs, **__: keys.append(inputs))
    study.study_precisions(done.recipe, done.run, always=True)
    monkeypatch.setattr(type(done.recipe.model), "cache_key_extras", lambda self, params: {"plan": "another"})
    study.study_precisions(done.recipe, done.run, always=True)
    monkeypatch.setattr(OpenVinoCompiler, "identity", lambda self, target: {"openvino": "another"})
    study.study_precisions(done.recipe, done.run, always=True)
    assert keys[0] != keys[1] != keys[2]
