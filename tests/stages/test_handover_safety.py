"""A bundle replaces no other files, and its outputs are restored only by the plan that they were made with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from helpers import stages
from helpers.errors import DataError
from helpers.interop.bundle_infer import infer_bundle
from helpers.stages.handover import BundleAnswers, compile_bundle, open_bundle_run, pack_bundle


def test_export_replaces_nothing_but_a_bundle(run_pipeline, tmp_path):
    done = run_pipeline(tmp_path / "out", until="surgery", cases=["case_1"], simplify_timeout_s=0.001)
    mine = tmp_path / "project" / "cases" / "patient.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="is not a bundle, and its files would be replaced"):
        pack_bundle(done.recipe, done.run, tmp_path / "project")
    assert mine.read_text(encoding="utf-8") == "mine"
    for _ in range(2):  # a bundle may be replaced, also one that was not finished
        bundle = pack_bundle(done.recipe, done.run, tmp_path / "bundle")
        (bundle.folder / "bundle.json").write_text("{}", encoding="utf-8")
    pack_bundle(done.recipe, done.run, tmp_path / "bundle")


def test_outputs_are_not_restored_by_another_plan(run_pipeline, tmp_path, monkeypatch):
    done = run_pipeline(tmp_path / "out", until="surgery", cases=["case_1"], simplify_timeout_s=0.001)
    bundle = pack_bundle(done.recipe, done.run, tmp_path / "bundle")
    bundle, _ = compile_bundle(bundle, {"target": "onnxruntime", "outputs": str(tmp_path / "out")})
    bundle = infer_bundle(bundle)
    recipe, run = open_bundle_run(bundle, {"outputs": str(tmp_path / "score")})
    stages.prepare_data(recipe, run)
    stages.infer_cases(recipe, run, BundleAnswers(bundle, recipe, run))
    monkeypatch.setattr(type(recipe.model), "cache_key_extras", lambda self, params: {"plan": "another"})
    with pytest.raises(DataError, match="or the plan, differ"):
        stages.infer_cases(recipe, run, BundleAnswers(bundle, recipe, run))


def test_an_interpreter_that_a_bundle_names_is_not_started(run_pipeline, tmp_path):
    done = run_pipeline(tmp_path / "out", until="surgery", cases=["case_1"], simplify_timeout_s=0.001)
    bundle = pack_bundle(done.recipe, done.run, tmp_path / "bundle")
    bundle, _ = compile_bundle(bundle, {"target": "onnxruntime", "outputs": str(tmp_path / "out")})
    started = tmp_path / "started"
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\ntouch {started}\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    named = replace(bundle, model=replace(bundle.model, target={**bundle.model.target, "python": str(program)}))
    assert infer_bundle(named).cases and not started.exists()
