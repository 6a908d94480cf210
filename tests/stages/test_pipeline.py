"""Every stage in order on a tiny recipe: made, reused, redone, on three runtimes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from helpers import stages
from helpers.data.volume import read_volume
from helpers.graph import simplify
from helpers.run import read_run_status
from tests.stages.pipeline import QUICK, masks_of


@pytest.fixture(scope="module")
def first(run_pipeline, outputs):
    """A complete run with pictures, started from nothing."""
    done = run_pipeline(outputs, pictures=True)
    done.statuses = {name: result.status for name, result in done.run.results.items()}
    return done


class TestPipeline:
    def test_every_stage_is_made_and_the_run_passes(self, first):
        assert set(first.statuses.values()) == {"made", "not run here"}
        assert [name for name, status in first.statuses.items() if status == "not run here"] == ["vendor"]
        assert read_run_status(first.run.path("run.json")) == ("passed", "")

    def test_the_documented_files_exist(self, first):
        pictures = ("figures/graph_after.png", "figures/seconds.png")
        for name in ("model.onnx", "metrics.json", "run.json", "run.log", "report.html", *pictures):
            assert first.run.path(name).stat().st_size > 0, name
        assert len(list(first.run.path("masks").iterdir())) == 3
        for case in (1, 2, 3):
            assert len(list(first.run.path("figures").glob(f"[123]_case_{case}_slices.png"))) == 1
        assert not list(first.run.folder.rglob(".part-*"))
        assert not list(first.run.store.root.glob(".work-*"))

    def test_masks_are_correct_and_on_the_cases_own_grid(self, first, tiny):
        for seed in (1, 2, 3):
            mask = read_volume(first.run.path(f"masks/case_{seed}.nii.gz"))
            assert not mask.geometry.differences_from(tiny.module.GEOMETRY)
            image, _ = tiny.module.make_volume(seed)
            # The weights add less than 0.05 to a threshold at 0.5.
            clear = np.abs(image - 0.5) > 0.05
            assert np.array_equal(mask.array[0][clear], (image > 0.5)[clear])

    def test_metrics_hold_each_case_and_the_mean(self, first):
        metrics = json.loads(first.run.path("metrics.json").read_text(encoding="utf-8"))
        values = [metrics["cases"][f"case_{seed}"]["cube"] for seed in (1, 2, 3)]
        assert min(values) > 0.95
        assert metrics["mean"]["cube"] == pytest.approx(np.mean(values), abs=1e-6)
        assert metrics["recipe"] == "tiny"

    def test_the_resize_was_rewritten_and_nothing_changed(self, first):
        values = first.made["surgery"].values
        assert (values["rewritten"], values["largest_change"]) == (1, 0.0)

    def test_the_graph_is_counted_as_by_hand(self, first):
        # down: 2·27+2 weights, head: 2·3+2; MACs: 8³·2·27 and 16³·2·3.
        values = first.made["inspect"].values
        assert values["parameters"] == 2 * 27 + 2 + 2 * 3 + 2
        assert values["macs"] == 8**3 * 2 * 27 + 16**3 * 2 * 3

    def test_the_strict_target_refuses_nodes_before_surgery_only(self, first):
        facts = " ".join(str(value) for value in first.made["lint"].facts.values())
        assert "1 objection (Resize)" in facts and "no objection" in facts

    def test_the_vendor_command_is_shown_and_no_model_is_faked(self, first):
        facts = first.made["vendor"].facts
        command = facts["Huawei Ascend 310"]
        assert command.startswith("atc --framework=5 --model=model.onnx")
        assert "--input_shape=image:1,1,16,16,16" in command and "--input_format=NCDHW" in command
        assert not list(first.run.folder.rglob("*.om"))

    def test_parity_covers_every_form(self, first):
        assert set(first.made["parity"].values) == {"exported", "simplified", "repaired", "device"}
        assert all(row["largest"] <= 1e-4 and row["clear_flips"] == 0 for row in first.made["parity"].values.values())

    def test_each_mask_records_its_seconds_and_memory(self, first):
        for result in first.made["infer"]:
            assert set(result.timings) == {"read", "open", "infer", "write", "peak_rss_mb"}
            assert result.timings["peak_rss_mb"] > 50

    def test_the_summary_shows_itself(self, first):
        summary = first.made["finish"]
        assert "Export to ONNX" in str(summary) and "<" not in str(summary)
        html = summary._repr_html_()
        assert "<table" in html and first.run.folder.name in html

    def test_the_case_table_has_one_row_per_case(self, first):
        from helpers.view import show_case_table

        scores = first.made["score"].values["cases"]
        table = show_case_table(first.made["infer"], scores, ("cube",))
        assert table._repr_html_().count("<tr>") == 4
        assert f"{scores['case_2']['cube']:.3f}" in repr(table)

    def test_viewers_are_static_in_a_headless_run(self, first):
        for shown in (stages.open_graph(first.run), stages.open_case(first.recipe, first.run)):
            assert "Headless" in repr(shown) and "<i>" in shown._repr_html_()


class TestAgain:
    def test_a_second_run_reuses_every_stage(self, first, run_pipeline, outputs):
        before = (masks_of(first), first.run.path("metrics.json").read_bytes())
        chart = first.run.path("figures/seconds.png").stat()
        again = run_pipeline(outputs, pictures=True)
        assert again.run.folder == first.run.folder
        assert again.run.path("figures/seconds.png").stat().st_ino == chart.st_ino  # nothing was performed
        assert {r.status for n, r in again.run.results.items() if n != "vendor"} == {"reused"}
        assert (masks_of(again), again.run.path("metrics.json").read_bytes()) == before

    def test_a_second_run_opens_no_device(self, first, run_pipeline, outputs, monkeypatch):
        monkeypatch.setattr("helpers.stages.infer.open_device", lambda *_, **__: pytest.fail("a device was opened"))
        run_pipeline(outputs)

    def test_one_deleted_mask_redoes_that_one(self, first, run_pipeline, outputs):
        before = masks_of(first)
        first.run.path("masks/case_2.nii.gz").unlink()
        chart = first.run.path("figures/seconds.png").stat()
        again = run_pipeline(outputs)
        assert again.run.path("figures/seconds.png").stat().st_ino != chart.st_ino
        assert [result.status for result in again.made["infer"]] == ["reused", "made", "reused"]
        assert again.made["score"].status == "reused"
        assert masks_of(again) == before

    def test_only_named_cases_are_run_and_they_are_reused(self, first, run_pipeline, outputs):
        again = run_pipeline(outputs, cases="case_3,case_1")
        assert [result.stage for result in again.made["infer"]] == ["infer/case_3", "infer/case_1"]
        assert {result.status for result in again.made["infer"]} == {"reused"}
        assert sorted(masks_of(again)) == ["case_1.nii.gz", "case_3.nii.gz"]

    def test_another_checkpoint_of_the_same_shape_makes_other_masks(self, first, run_pipeline, outputs, tiny):
        run_pipeline(outputs, until="infer", cases="case_1", cache=False, **QUICK)
        other = run_pipeline(
            outputs, until="infer", cases="case_1", checkpoint=str(tiny.folder / "higher.safetensors"), **QUICK
        )
        assert {result.status for result in other.made["infer"]} == {"made"}
        image, _ = tiny.module.make_volume(1)
        mask = read_volume(other.run.path("masks/case_1.nii.gz")).array[0]
        clear = np.abs(image - 0.8) > 0.05
        assert np.array_equal(mask[clear], (image > 0.8)[clear])

    def test_a_checkpoint_that_changed_in_place_is_noticed(self, run_pipeline, tmp_path, tiny):
        path = tmp_path / "mine.safetensors"
        shutil.copyfile(tiny.folder / "trained.safetensors", path)
        given = {"checkpoint": str(path), "cases": ["case_1"], **QUICK}
        before = run_pipeline(tmp_path / "outputs", **given)
        shutil.copyfile(tiny.folder / "higher.safetensors", path)
        after = run_pipeline(tmp_path / "outputs", until="source", **given)
        assert after.run.folder == before.run.folder
        assert after.made["infer"][0].status == after.made["source"].status == "made"

    def test_another_version_of_the_runtime_is_proven_again(self, first, run_pipeline, outputs, monkeypatch):
        from helpers.run import environment

        run_pipeline(outputs, until="infer", cases="case_1", cache=False, **QUICK)
        real = environment.package_version
        for module in ("artifact", "graph"):
            monkeypatch.setattr(
                f"helpers.stages.{module}.package_version",
                lambda name: "0.0.1" if name == "openvino" else real(name),
            )
        again = run_pipeline(outputs, until="infer", cases="case_1", **QUICK)
        assert again.made["export"].status == "reused"
        assert {again.made["parity"].status, again.made["infer"][0].status} == {"made"}


@pytest.mark.parametrize("target", ["onnxruntime", "torch"])
def test_another_runtime_agrees(first, run_pipeline, outputs, target):
    done = run_pipeline(outputs, target=target)
    assert done.made["export"].status == "reused"
    assert done.made["parity"].status == "made"
    for seed in (1, 2, 3):
        ours, theirs = (read_volume(d.run.path(f"masks/case_{seed}.nii.gz")).array for d in (first, done))
        assert np.count_nonzero(ours != theirs) <= 1


def test_in_two_empty_folders_without_cache_the_bytes_are_the_same(run_pipeline, tmp_path):
    done = [run_pipeline(tmp_path / name, cache=False, until="score", **QUICK) for name in ("one", "two")]
    assert masks_of(done[0]) == masks_of(done[1]) != {}
    metrics = [d.run.path("metrics.json").read_bytes() for d in done]
    assert metrics[0] == metrics[1]
    again = run_pipeline(tmp_path / "one", cache=False, until="surgery", **QUICK)
    assert {result.status for result in again.made.values()} == {"made"}


def test_a_static_batch_goes_through_every_stage(run_pipeline, tmp_path):
    done = run_pipeline(tmp_path, dynamic_batch=False, batch_size=2, cases=["case_1"], **QUICK)
    assert json.loads(done.run.path("metrics.json").read_text(encoding="utf-8"))["mean"]["cube"] > 0.95


def test_a_graph_that_onnxsim_cannot_simplify_goes_on_and_says_so(run_pipeline, tmp_path):
    done = run_pipeline(tmp_path, until="surgery", **QUICK)
    assert "kept unsimplified: onnxsim took longer than 0.001 s" in done.made["simplify"].facts["outcome"]
    assert done.made["simplify"].values["simplified"] is False
    assert done.made["surgery"].values["rewritten"] == 1


@pytest.mark.parametrize("cause", ["timeout", "signal"])
def test_a_graph_that_was_kept_unsimplified_is_not_reused(run_pipeline, tmp_path, monkeypatch, cause):
    given = {"until": "simplify", "cases": ["case_1"]}
    with monkeypatch.context() as patch:
        if cause == "signal":
            patch.setattr(simplify, "_CHILD", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        first = run_pipeline(tmp_path, **given, **(QUICK if cause == "timeout" else {}))
    assert "kept unsimplified" in first.made["simplify"].facts["outcome"]
    again = run_pipeline(tmp_path, **given)
    assert (again.made["simplify"].status, again.made["simplify"].facts["outcome"]) == ("made", "simplified")
    late = run_pipeline(tmp_path, **given, **QUICK)
    assert (late.made["simplify"].status, late.made["simplify"].facts["outcome"]) == ("reused", "simplified")
