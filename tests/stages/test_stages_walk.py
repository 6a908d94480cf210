"""Every stage in order on a tiny recipe: made, reused, redone, gated, on three runtimes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from helpers import stages
from helpers.data.volume import read_volume
from helpers.errors import CheckpointError, DataError, GateError, ParameterError
from helpers.run import read_run_status

# onnxsim costs seconds: here it runs out of time at once, and the unsimplified graph goes on.
QUICK = {"simplify_timeout_s": 0.001}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def first(walk, outputs):
    """A whole walk with pictures, made from nothing."""
    done = walk(outputs, pictures=True)
    done.statuses = {name: result.status for name, result in done.run.results.items()}
    return done


def _masks(done) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(done.run.path("masks").glob("*.nii.gz"))}


class TestWalk:
    def test_everything_was_made_and_the_run_passed(self, first):
        assert set(first.statuses.values()) == {"made", "not run here"}
        assert [name for name, status in first.statuses.items() if status == "not run here"] == ["vendor"]
        assert read_run_status(first.run.path("run.json")) == ("passed", "")

    def test_the_promised_files_are_there(self, first):
        pictures = ("figures/graph_after.png", "figures/seconds.png")
        for name in ("model.onnx", "metrics.json", "run.json", "run.log", "report.html", *pictures):
            assert first.run.path(name).stat().st_size > 0, name
        assert len(list(first.run.path("masks").iterdir())) == 3
        for case in (1, 2, 3):
            assert len(list(first.run.path("figures").glob(f"[123]_case_{case}_slices.png"))) == 1
        assert not list(first.run.folder.rglob(".part-*"))
        assert not list(first.run.store.root.glob(".work-*"))

    def test_masks_lie_on_the_cases_own_grid_and_are_right(self, first, tiny):
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

    def test_the_graph_is_counted_by_hand(self, first):
        # down: 2·27+2 weights, head: 2·3+2; MACs: 8³·2·27 and 16³·2·3.
        values = first.made["inspect"].values
        assert values["parameters"] == 2 * 27 + 2 + 2 * 3 + 2
        assert values["macs"] == 8**3 * 2 * 27 + 16**3 * 2 * 3

    def test_the_strict_target_objects_before_surgery_only(self, first):
        facts = " ".join(str(value) for value in first.made["lint"].facts.values())
        assert "1 objection (Resize)" in facts and "no objection" in facts

    def test_the_vendor_command_is_shown_and_no_model_is_pretended(self, first):
        facts = first.made["vendor"].facts
        command = facts["Huawei Ascend 310"]
        assert command.startswith("atc --framework=5 --model=model.onnx")
        assert "--input_shape=image:1,1,16,16,16" in command and "--input_format=NCDHW" in command
        assert not list(first.run.folder.rglob("*.om"))

    def test_parity_covers_every_form(self, first):
        assert set(first.made["parity"].values) == {"exported", "simplified", "repaired", "device"}
        assert all(row["largest"] <= 1e-4 and row["clear_flips"] == 0 for row in first.made["parity"].values.values())

    def test_each_mask_tells_its_seconds_and_memory(self, first):
        for result in first.made["infer"]:
            assert set(result.timings) == {"read", "open", "infer", "write", "peak_rss_mb"}
            assert result.timings["peak_rss_mb"] > 50

    def test_the_summary_shows_itself(self, first):
        summary = first.made["finish"]
        assert "Export to ONNX" in str(summary) and "<" not in str(summary)
        html = summary._repr_html_()
        assert "<table" in html and first.run.folder.name in html

    def test_the_case_table_has_a_row_a_case(self, first):
        from helpers.view import show_case_table

        scores = first.made["score"].values["cases"]
        table = show_case_table(first.made["infer"], scores, ("cube",))
        assert table._repr_html_().count("<tr>") == 4
        assert f"{scores['case_2']['cube']:.3f}" in repr(table)

    def test_viewers_are_static_when_nobody_is_there(self, first):
        for shown in (stages.open_graph(first.run), stages.open_case(first.recipe, first.run)):
            assert "Headless" in repr(shown) and "<i>" in shown._repr_html_()


class TestAgain:
    def test_a_second_run_reuses_every_stage(self, first, walk, outputs):
        before = (_masks(first), first.run.path("metrics.json").read_bytes())
        again = walk(outputs, pictures=True)
        assert again.run.folder == first.run.folder
        assert {r.status for n, r in again.run.results.items() if n != "vendor"} == {"reused"}
        assert (_masks(again), again.run.path("metrics.json").read_bytes()) == before

    def test_a_second_run_opens_no_device(self, first, walk, outputs, monkeypatch):
        monkeypatch.setattr("helpers.stages.infer.open_device", lambda *_, **__: pytest.fail("a device was opened"))
        walk(outputs)

    def test_one_deleted_mask_redoes_that_one(self, first, walk, outputs):
        before = _masks(first)
        first.run.path("masks/case_2.nii.gz").unlink()
        again = walk(outputs)
        assert [result.status for result in again.made["infer"]] == ["reused", "made", "reused"]
        assert again.made["score"].status == "reused"
        assert _masks(again) == before

    def test_named_cases_are_done_alone_and_reused(self, first, walk, outputs):
        again = walk(outputs, cases="case_3,case_1")
        assert [result.stage for result in again.made["infer"]] == ["infer/case_3", "infer/case_1"]
        assert {result.status for result in again.made["infer"]} == {"reused"}
        assert sorted(_masks(again)) == ["case_1.nii.gz", "case_3.nii.gz"]

    def test_another_checkpoint_of_the_same_shape_makes_other_masks(self, first, walk, outputs, tiny):
        walk(outputs, until="infer", cases="case_1", cache=False, **QUICK)
        other = walk(
            outputs, until="infer", cases="case_1", checkpoint=str(tiny.folder / "higher.safetensors"), **QUICK
        )
        assert {result.status for result in other.made["infer"]} == {"made"}
        image, _ = tiny.module.make_volume(1)
        mask = read_volume(other.run.path("masks/case_1.nii.gz")).array[0]
        clear = np.abs(image - 0.8) > 0.05
        assert np.array_equal(mask[clear], (image > 0.8)[clear])

    def test_a_checkpoint_changed_in_its_place_is_noticed(self, walk, tmp_path, tiny):
        path = tmp_path / "mine.safetensors"
        shutil.copyfile(tiny.folder / "trained.safetensors", path)
        given = {"checkpoint": str(path), "cases": ["case_1"], **QUICK}
        before = walk(tmp_path / "outputs", **given)
        shutil.copyfile(tiny.folder / "higher.safetensors", path)
        after = walk(tmp_path / "outputs", until="source", **given)
        assert after.run.folder == before.run.folder
        assert after.made["infer"][0].status == after.made["source"].status == "made"

    def test_another_version_of_the_runtime_is_proven_again(self, first, walk, outputs, monkeypatch):
        from helpers.run import environment

        walk(outputs, until="infer", cases="case_1", cache=False, **QUICK)
        real = environment.package_version
        for module in ("compiled", "graph"):
            monkeypatch.setattr(
                f"helpers.stages.{module}.package_version",
                lambda name: "0.0.1" if name == "openvino" else real(name),
            )
        again = walk(outputs, until="infer", cases="case_1", **QUICK)
        assert again.made["export"].status == "reused"
        assert {again.made["parity"].status, again.made["infer"][0].status} == {"made"}


@pytest.mark.parametrize("target", ["onnxruntime", "torch"])
def test_another_runtime_agrees(first, walk, outputs, target):
    done = walk(outputs, target=target)
    assert done.made["export"].status == "reused"
    assert done.made["parity"].status == "made"
    for seed in (1, 2, 3):
        ours, theirs = (read_volume(d.run.path(f"masks/case_{seed}.nii.gz")).array for d in (first, done))
        assert np.count_nonzero(ours != theirs) <= 1


def test_in_two_empty_folders_without_cache_the_bytes_are_the_same(walk, tmp_path):
    done = [walk(tmp_path / name, cache=False, until="score", **QUICK) for name in ("one", "two")]
    assert _masks(done[0]) == _masks(done[1]) != {}
    metrics = [d.run.path("metrics.json").read_bytes() for d in done]
    assert metrics[0] == metrics[1]
    again = walk(tmp_path / "one", cache=False, until="surgery", **QUICK)
    assert {result.status for result in again.made.values()} == {"made"}


def test_a_static_batch_goes_through_every_stage(walk, tmp_path):
    done = walk(tmp_path, dynamic_batch=False, batch_size=2, cases=["case_1"], **QUICK)
    assert json.loads(done.run.path("metrics.json").read_text(encoding="utf-8"))["mean"]["cube"] > 0.95


def test_a_graph_that_onnxsim_cannot_simplify_goes_on_and_says_so(walk, tmp_path):
    done = walk(tmp_path, until="surgery", **QUICK)
    assert "kept unsimplified: onnxsim took longer than 0.001 s" in done.made["simplify"].facts["outcome"]
    assert done.made["simplify"].values["simplified"] is False
    assert done.made["surgery"].values["rewritten"] == 1


class TestGates:
    def test_untrained_weights_fail_the_gate(self, walk, tmp_path, tiny):
        with pytest.raises(GateError, match=r"cube over 3 cases: 0\.\d+, at least 0\.9"):
            walk(tmp_path, checkpoint=str(tiny.folder / "untrained.safetensors"), **QUICK)
        run = walk.last.run
        assert not run.path("metrics.json").exists()
        assert read_run_status(run.path("run.json"))[0] == "failed"
        with pytest.raises(GateError):
            stages.finish_run(walk.last.recipe, run)

    def test_a_tolerance_that_cannot_be_met_fails_export_with_the_number(self, walk, tmp_path):
        with pytest.raises(GateError, match=r"ONNX Runtime against torch, batch 1: .* of range"):
            walk(tmp_path, until="export", parity_tolerance=1e-30)
        assert not walk.last.run.path("graph").exists()

    def test_scores_on_somebodys_data_are_reported_and_not_judged(self, walk, tmp_path, tiny):
        root = tmp_path / "mine"
        root.mkdir()
        tiny.module.TinyRecipe().write_demo_cases(root, [7])
        weights = str(tiny.folder / "untrained.safetensors")
        done = walk(tmp_path / "outputs", data_root=str(root), checkpoint=weights, **QUICK)
        assert "none" in done.made["score"].facts["gate"]
        with pytest.raises(GateError, match="cube over 1 cases"):
            walk(tmp_path / "outputs", data_root=str(root), checkpoint=weights, minimum_scores={"cube": 0.9}, **QUICK)

    def test_cases_without_truth_get_masks_and_no_score(self, first, walk, outputs, tmp_path, tiny):
        root = tmp_path / "mine"
        root.mkdir()
        tiny.module.TinyRecipe().write_demo_cases(root, [7])
        (root / "case_7_truth.nii.gz").unlink()
        done = walk(outputs, data_root=str(root), until="score")
        assert done.made["score"].values["mean"] == {"cube": None}
        assert done.run.path("masks/case_7.nii.gz").is_file()

    def test_an_unknown_score_is_refused_with_the_nearest(self, walk, outputs, first):
        with pytest.raises(ParameterError, match=r"unknown score in minimum_scores 'cubes'.*'cube'"):
            walk(outputs, minimum_scores={"cubes": 0.5})


class TestBadInput:
    def _one_line(self, error, *parts: str) -> None:
        line = error.value.line()
        assert "\n" not in line and all(part in line for part in parts), line

    def test_a_checkpoint_of_another_network_is_one_line(self, walk, tmp_path, tiny):
        import torch
        from safetensors.torch import save_file

        state = tiny.module.trained_state()
        state["tail.weight"] = state.pop("head.weight")
        state["down.bias"] = torch.zeros(5)
        save_file(state, tmp_path / "other.safetensors")
        with pytest.raises(CheckpointError) as caught:
            walk(tmp_path / "outputs", checkpoint=str(tmp_path / "other.safetensors"))
        self._one_line(caught, "head.weight", "tail.weight", "down.bias is (5,) instead of (2,)")
        run = walk.last.run
        assert not run.path("graph").exists() and not run.path("model.onnx").exists()

    def test_a_checkpoint_that_is_not_there_is_one_line(self, walk, tmp_path):
        with pytest.raises(ParameterError, match=r"no file or folder no/such\.pth \(parameter checkpoint\)"):
            walk(tmp_path, checkpoint="no/such.pth")

    def test_an_unknown_case_names_the_nearest(self, walk, outputs):
        with pytest.raises(DataError) as caught:
            walk(outputs, cases=["case_33"])
        self._one_line(caught, "no case 'case_33'", "Did you mean 'case_3'?")

    def test_a_truncated_file_ends_the_run_before_any_work(self, walk, tmp_path, tiny):
        root = tmp_path / "mine"
        root.mkdir()
        tiny.module.TinyRecipe().write_demo_cases(root, [7, 8])
        path = root / "case_8_image.nii.gz"
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(DataError) as caught:
            walk(tmp_path / "outputs", data_root=str(root))
        self._one_line(caught, "case_8_image.nii.gz is truncated")
        run = walk.last.run
        assert (
            list(walk.last.made) == []
            and "truncated" in json.loads(run.path("run.json").read_text(encoding="utf-8"))["reason"]
        )


class TestStart:
    @pytest.mark.parametrize(
        ("namespace", "telling"),
        [
            ({"bacth_size": 4}, "Did you mean 'batch_size'?"),
            ({"zzz": 1}, "unknown parameter 'zzz'"),
            ({"batch_size": "4"}, "received '4' (str)"),
            ({"window": (16, 16, 16)}, "window"),
            ({"cases": {"case_1"}}, "cases"),
        ],
    )
    def test_what_is_wrong_in_the_namespace_is_refused(self, tiny, tmp_path, namespace, telling):
        with pytest.raises(ParameterError) as caught:
            stages.start_run("tiny", {"outputs": str(tmp_path), **namespace})
        assert telling in caught.value.line()
        assert list(tmp_path.iterdir()) == []

    def test_what_is_no_parameter_by_its_kind_is_let_be(self, tiny, tmp_path):
        import math

        namespace = {"math": math, "stages": stages, "_private": 3, "In": [""], "Out": {}, "outputs": str(tmp_path)}
        _, run = stages.start_run("tiny", namespace)
        run.record.end("passed")

    def test_the_cell_can_be_run_again_after_the_rest_when_someone_is_there(self, walk, first, outputs, monkeypatch):
        monkeypatch.setenv("JPY_SESSION_NAME", "01.ipynb")
        namespace = {
            "outputs": str(outputs),
            "recipe": first.recipe,
            "run": first.run,
            "masks": first.made["infer"],
            "scored": first.made["score"],
            "my_note": "about this run",
        }
        _, run = stages.start_run("tiny", namespace)
        run.record.end("passed")
        assert run.folder == first.run.folder

    def test_a_mistyped_parameter_is_refused_also_when_someone_is_there(self, tiny, tmp_path, monkeypatch):
        monkeypatch.setenv("JPY_SESSION_NAME", "01.ipynb")
        with pytest.raises(ParameterError, match="batch_size"):
            stages.start_run("tiny", {"outputs": str(tmp_path), "batchsize": 4})

    def test_an_unknown_recipe_names_the_nearest(self, tiny):
        with pytest.raises(ParameterError, match=r"unknown recipe 'unet3d_brat'.*'unet3d_brats'"):
            stages.start_run("unet3d_brat", {})
