"""`cookbook runs` lists what is in an outputs folder, damaged records included."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from helpers import cli


def _add_run(outputs: Path, name: str, metrics: object = None, **content: object) -> Path:
    folder = outputs / "unet3d_brats" / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return folder


@pytest.fixture
def listed(tmp_path, capsys):
    """The lines of the list of `tmp_path`."""

    def lines(*arguments: str) -> list[str]:
        assert cli.main(["runs", "--outputs", str(tmp_path), *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    return lines


PARAMS = {"target": "cpu", "precision": "f32", "data_root": "demo", "checkpoint": None}


def test_the_newest_run_is_the_first_with_its_scores(listed, tmp_path):
    _add_run(tmp_path, "demo-1", {"mean": {"WT": 0.91234, "ET": None}}, status="passed", started=1e9, params=PARAMS)
    mine = {**PARAMS, "data_root": "/data/MyScans", "checkpoint": "/w/mine.pth", "target": "ascend310p3"}
    _add_run(tmp_path, "cpu-2", {"mean": {"WT": 0.5}}, status="passed", started=1.5e9, params=mine)
    header, first, second = listed()
    assert header.split()[:6] == ["started", "run", "status", "model", "on", "data"]
    assert (
        "unet3d_brats/cpu-2" in first and "mine.pth" in first and "ascend310p3, f32" in first and "MyScans" in first
    )
    assert first.endswith("WT 0.500")
    assert "demo weights" in second and second.endswith("WT 0.912")


def test_a_failed_and_a_dead_run_say_why(listed, tmp_path):
    _add_run(tmp_path, "a", status="failed", reason="score: 1 of 3 checks failed\n", started=2, params=PARAMS)
    dead = {"status": "running", "heartbeat": 5.0, "pid": os.getpid(), "host": "x"}
    _add_run(tmp_path, "b", **dead, started=1, params=PARAMS)
    _, failed, ended = listed()
    assert failed.endswith("score: 1 of 3 checks failed") and "failed" in ended and "no heartbeat for" in ended


@pytest.mark.parametrize(
    "content", ["", "[]", "null", '{"params": 3}', '{"started": "x"}', '{"started": 1e999}', "[" * 9999]
)
def test_a_damaged_record_has_a_row(listed, tmp_path, content):
    (_add_run(tmp_path, "a") / "run.json").write_text(content, encoding="utf-8")
    (row,) = listed()[1:]
    assert row.startswith("unknown") and "unet3d_brats/a" in row and "failed" in row
    assert row.count("unknown") == 3 and "demo" not in row  # the start, the model and the data


def test_an_empty_folder_says_so(listed, tmp_path):
    assert listed() == [f"no run in {tmp_path}"]


def test_only_the_runs_of_a_recipe(listed, tmp_path, capsys):
    _add_run(tmp_path, "a", status="passed", started=1, params=PARAMS)
    assert len(listed("unet3d_brats")) == 2
    assert listed("unet_carvana") == [f"no run in {tmp_path}"]
    assert cli.main(["runs", "unet3d_brat", "--outputs", str(tmp_path)]) == 2
    assert "unet3d_brats" in capsys.readouterr().err


def test_a_folder_that_is_not_there(tmp_path, capsys):
    assert cli.main(["runs", "--outputs", str(tmp_path / "none")]) == 2
    assert "no file or folder" in capsys.readouterr().err
