"""With a vendor's compiler on PATH (the strict double of CANN) the compile stage compiles, and keeps what it made."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import stages
from helpers.errors import CompileError
from helpers.run import read_run_status
from helpers.stages.artifact import compiled_path, digest_compiled, read_manifest

DOUBLE = Path(__file__).parents[1] / "doubles" / "cann"
QUICK = {"simplify_timeout_s": 0.001, "cases": ["case_1"], "until": "compile"}


@pytest.fixture
def cann(monkeypatch):
    monkeypatch.setenv("PATH", f"{DOUBLE / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("CANN_DOUBLE_PYTHON", sys.executable)


def test_the_stage_compiles_and_its_file_is_reused_until_something_that_decides_it_changes(
    run_pipeline, tmp_path, cann, monkeypatch
):
    first = run_pipeline(tmp_path, target="ascend310p3", **QUICK)
    assert first.made["compile"].status == "made"
    assert compiled_path(first.run).read_bytes()[:4] == b"IMOD"
    manifest = read_manifest(first.run)
    assert (manifest.target, manifest.precision, list(manifest.batches), manifest.is_fallback) == (
        "ascend310p3",
        "f16",
        [1],
        False,
    )
    assert "ATC run success" in first.run.path("compiled/model.log").read_text(encoding="utf-8")
    again = run_pipeline(tmp_path, target="ascend310p3", **QUICK)
    assert again.made["compile"].status == "reused" and again.run.folder == first.run.folder
    monkeypatch.setenv("CANN_DOUBLE_CANN", "7")
    assert run_pipeline(tmp_path, target="ascend310p3", **QUICK).made["compile"].status == "made"


def test_gears_are_in_the_manifest_and_in_the_file_of_another_name(run_pipeline, tmp_path, cann, monkeypatch):
    monkeypatch.setenv("CANN_DOUBLE_OM_SUFFIX", "_linux_x86_64")
    done = run_pipeline(tmp_path, target="ascend310p3", batch_size=2, batch_gears=[1, 2, 4], **QUICK)
    assert list(read_manifest(done.run).batches) == [1, 2, 4]
    assert compiled_path(done.run).name == "model_linux_x86_64.om"
    assert "--dynamic_batch_size=1,2,4" in done.made["compile"].facts["atc"]


def test_the_command_for_a_tool_names_the_file_that_atc_wrote(run_pipeline, tmp_path, cann, monkeypatch):
    monkeypatch.setenv("CANN_DOUBLE_OM_SUFFIX", "_linux_aarch64")
    done = run_pipeline(tmp_path, target="ascend310p3", device_tool="msame", **QUICK)
    facts = stages.exchange_with_tool(done.recipe, done.run).facts
    assert "--model ../../compiled/model_linux_aarch64.om" in facts["command 1"]
    assert facts["model"].startswith("compiled/model_linux_aarch64.om")


def test_a_chip_without_5d_resize_gets_the_rewrite_that_the_recipe_does_not_ask_for(
    run_pipeline, tmp_path, cann, tiny, monkeypatch
):
    monkeypatch.setattr(tiny.module, "RECIPE", replace(tiny.module.RECIPE, rewrites=()))
    plain = run_pipeline(tmp_path, **QUICK)
    assert plain.made["surgery"].values["rewritten"] == 0
    done = run_pipeline(tmp_path, target="ascend310", **QUICK)
    assert done.made["surgery"].values["rewritten"] == 1
    assert done.made["surgery"].values["largest_change"] <= 1e-5
    assert done.made["lint"].values["ascend310"] == [1, 0]
    assert done.made["compile"].status == "made"


def test_a_refused_graph_ends_the_run_in_one_explained_line_and_its_log_stays(
    run_pipeline, tmp_path, cann, monkeypatch
):
    rule = [{"op": "Conv", "code": "EZ3003", "text": "No supported Ops kernel and engine are found for [c]."}]
    monkeypatch.setenv("CANN_DOUBLE_ATC_REFUSE", json.dumps(rule))
    with pytest.raises(CompileError, match=r"ATC rejects the graph \(EZ3003\)") as refusal:
        run_pipeline(tmp_path, target="ascend310p3", **QUICK)
    run = run_pipeline.last.run
    assert "\n" not in refusal.value.line() and "ops package" in refusal.value.line()
    assert "EZ3003" in run.path("compiled/model.log").read_text(encoding="utf-8")
    assert read_run_status(run.path("run.json"))[0] == "failed" and not list(run.folder.rglob("*.om"))


def test_the_fallback_gives_way_to_the_compiler_once_it_is_there(run_pipeline, tmp_path, monkeypatch):
    without = run_pipeline(tmp_path, target="ascend310p3", **QUICK)
    assert read_manifest(without.run).target == "cpu"
    before = digest_compiled(without.run)
    monkeypatch.setenv("PATH", f"{DOUBLE / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("CANN_DOUBLE_PYTHON", sys.executable)
    done = run_pipeline(tmp_path, target="ascend310p3", **QUICK)
    assert done.made["compile"].status == "made" and read_manifest(done.run).target == "ascend310p3"
    assert digest_compiled(done.run) != before
