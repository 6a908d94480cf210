"""Comparison of two runs: differing parameters, paired differences, masks voxel by voxel."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import recipes
from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import DataError
from helpers.study import compare_runs

CASES, SHAPE = ("a", "b", "c"), (12, 24, 26)


@pytest.fixture
def two(tmp_path):
    """Two passed runs of the heart recipe with masks of three cases, one of them changed in the second run."""
    data, recipe = tmp_path / "data", recipes.load("nnunet_heart")
    random = np.random.default_rng(0)
    truth = np.zeros(SHAPE, np.uint8)
    truth[3:9, 5:19, 6:18] = 1
    for folder in ("imagesTr", "labelsTr"):
        (data / folder).mkdir(parents=True)
    for name in CASES:
        image = (truth + random.normal(0, 0.2, SHAPE)).astype(np.float32)
        write_volume(data / "imagesTr" / f"la_{name}.nii.gz", Volume(image[None], Geometry.identity(SHAPE)))
        write_volume(data / "labelsTr" / f"la_{name}.nii.gz", Volume(truth[None], Geometry.identity(SHAPE)))
    runs = []
    for index, (precision, scores) in enumerate((("f32", (0.9, 0.8, 0.7)), ("bf16", (0.9, 0.7, 0.9)))):
        params = recipe.prepare_params(data_root=str(data), precision=precision, outputs=str(tmp_path / "outputs"))
        folder = tmp_path / "outputs" / "nnunet_heart" / f"demo-0000000{index}"
        (folder / "masks").mkdir(parents=True)
        for name in CASES:
            mask = read_volume(data / "labelsTr" / f"la_{name}.nii.gz")
            changed = mask.array.astype(np.uint8).copy()
            if index and name == "b":
                changed[0, :5] = 1 - changed[0, :5]
            write_volume(folder / "masks" / f"la_{name}.nii.gz", Volume(changed, mask.geometry))
        metrics = {"cases": {f"la_{c}": {"atrium": s} for c, s in zip(CASES, scores, strict=True)}, "mean": {}}
        (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
        timings = {"read": 1.0, "open": 0.0, "infer": 4.0 - 2 * index, "write": 0.5}
        record = {
            "params": params.model_dump(mode="json"), "status": "passed", "reason": "", "started": float(index),
            "environment": {"machine": {"cpus": 2 + index}, "packages": {"numpy": "2"}},
            "stages": {f"infer/la_{c}": {"timings": timings} for c in CASES},
        }  # fmt: skip
        (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
        runs.append(folder)
    return SimpleNamespace(outputs=str(tmp_path / "outputs"), folders=runs)


def test_the_newest_two_are_in_order_of_time_and_only_differing_parameters_are_listed(two):
    comparison = compare_runs.choose_runs("nnunet_heart", None, two.outputs)
    assert [run.name for run in comparison.runs] == ["demo-00000000", "demo-00000001"]
    rows = {row[0]: row[1:] for row in comparison.differing_parameters()}
    assert rows == {"precision": ("f32", "bf16"), "machine: cpus": ("2", "3")}


def test_named_runs_keep_their_order(two):
    comparison = compare_runs.choose_runs("nnunet_heart", "demo-00000001, demo-00000000", two.outputs)
    assert [run.name for run in comparison.runs] == ["demo-00000001", "demo-00000000"]


def test_differences_are_paired(two):
    comparison = compare_runs.choose_runs("nnunet_heart", None, two.outputs)
    (row,) = comparison.differences(comparison.runs[1])
    assert row.values == pytest.approx({"la_a": 0.0, "la_b": -0.1, "la_c": 0.2})
    assert row.means == pytest.approx((0.8, 2.5 / 3)) and row.mean == pytest.approx(0.1 / 3)
    assert row.interval == pytest.approx((-0.1, 0.2), abs=0.04)
    assert "few cases" in repr(compare_runs.show_scores(comparison))


def test_masks_are_compared_voxel_by_voxel_worst_first(two):
    comparison = compare_runs.choose_runs("nnunet_heart", None, two.outputs)
    worst, *rest = comparison.disagreements(comparison.runs[1])
    plane = read_volume(two.folders[0] / "masks" / "la_b.nii.gz").array[0, :5]
    assert (worst.case, worst.differing) == ("la_b", plane.size)
    assert worst.share > 0 and worst.dice < 1
    assert [(row.case, row.differing, row.dice) for row in rest] == [("la_a", 0, 1.0), ("la_c", 0, 1.0)]


def test_seconds_are_means_over_the_cases(two):
    comparison = compare_runs.choose_runs("nnunet_heart", None, two.outputs)
    seconds = comparison.mean_seconds()
    assert seconds["demo-00000000"] == {"read": 1.0, "open": 0.0, "infer": 4.0, "write": 0.5}
    assert seconds["demo-00000001"]["infer"] == 2.0


def test_pictures_are_small_and_stored_next_to_the_runs(two):
    comparison = compare_runs.choose_runs("nnunet_heart", None, two.outputs)
    for draw in (compare_runs.plot_scores, compare_runs.plot_worst_case, compare_runs.plot_times):
        assert draw(comparison).data
    pictures = sorted(compare_runs.comparison_folder(comparison).glob("*.png"))
    assert [path.name for path in pictures] == ["scores.png", "seconds.png", "worst.png"]
    assert max(path.stat().st_size for path in pictures) <= 300_000
    assert Path(two.outputs) in pictures[0].parents


def test_fewer_than_two_runs_are_rejected_with_a_remedy(two):
    shutil.rmtree(two.folders[1])
    with pytest.raises(DataError, match=r"fewer than two runs.*-p precision bf16"):
        compare_runs.choose_runs("nnunet_heart", None, two.outputs)


def test_runs_are_made_only_if_there_are_fewer_than_two(two, monkeypatch):
    monkeypatch.setattr("helpers.stages.start_run", lambda *_: pytest.fail("a run was started"))
    assert compare_runs.make_missing_runs("nnunet_heart", [{"precision": "f32"}], two.outputs) == []


def test_an_existing_variant_is_not_made_again(two, monkeypatch):
    shutil.rmtree(two.folders[1])
    started = []
    monkeypatch.setattr("helpers.stages.start_run", lambda name, given: started.append(given) or pytest.skip(""))
    record = json.loads((two.folders[0] / "run.json").read_text(encoding="utf-8"))
    params = recipes.load("nnunet_heart").prepare_params(
        **{name: record["params"][name] for name in ("data_root", "precision", "outputs")}
    )
    two.folders[0].rename(two.folders[0].with_name(f"demo-{params.short_hash()}"))
    here = {"data_root": params.data_root, "precision": "f32"}
    with contextlib.suppress(pytest.skip.Exception):
        compare_runs.make_missing_runs("nnunet_heart", [here, {**here, "precision": "bf16"}], two.outputs)
    assert [given["precision"] for given in started] == ["bf16"]
