"""`rerun` takes the parameters of the record and an empty folder, and compares the files byte by byte."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from helpers import cli, recipes
from helpers.cli import rerun as rerun_module
from helpers.run.run import run_folder


@pytest.fixture
def finished(tmp_path):
    params = recipes.load("unet3d_brats").prepare_params(batch_size=2, outputs=str(tmp_path / "outputs"))
    folder = run_folder(params)
    (folder / "masks").mkdir(parents=True)
    for name in ("model.onnx", "metrics.json", "masks/a.nii.gz", "masks/b.nii.gz", "run.log"):
        (folder / name).write_text(f"{name} as it was", encoding="utf-8")
    given = {"recipe": "unet3d_brats", "profile": "demo", "batch_size": 2, "minimum_scores": None, "outputs": "x"}
    given["builder_config"] = {"archs": None}  # a validator may refuse an explicit None
    environment = {"python": "3.0", "packages": {"numpy": "0.1"}}
    record = {"params": given, "environment": environment, "status": "passed", "stages": {}}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


@pytest.fixture
def runs(finished, monkeypatch):
    """Records the runs that are asked for; each leaves a copy of the first run, altered by `changes`."""
    asked: list[tuple[str, dict]] = []
    changes: dict[str, str | None] = {}

    def run_notebook(recipe, given):
        asked.append((recipe, given))
        target = Path(given["outputs"]) / recipe / finished.name
        shutil.copytree(finished, target)
        for name, text in changes.items():
            (target / name).unlink() if text is None else (target / name).write_text(text, encoding="utf-8")
        return target

    monkeypatch.setattr(rerun_module, "run_notebook", run_notebook)
    return asked, changes


def test_equal_files_exit_with_0_and_the_cache_is_off(finished, runs, tmp_path, capsys):
    assert cli.main(["rerun", str(finished), "--outputs", str(tmp_path / "again")]) == 0
    (recipe, given), out = runs[0][0], capsys.readouterr().out
    assert recipe == "unet3d_brats"
    assert given == {
        "profile": "demo",
        "batch_size": 2,
        "builder_config": {},
        "outputs": str(tmp_path / "again"),
        "cache": False,
    }
    assert "byte-identical: 4 of 4 files" in out
    assert "changed since: packages numpy 0.1 →" in out and "changed since: python 3.0 →" in out


@pytest.mark.parametrize(
    ("name", "text"), [("masks/b.nii.gz", "other"), ("masks/b.nii.gz", None), ("masks/c", "new")]
)
def test_a_file_that_differs_is_named_and_exits_with_1(finished, runs, tmp_path, capsys, name, text):
    runs[1][name] = text
    assert cli.main(["rerun", str(finished), "--outputs", str(tmp_path / "again")]) == 1
    assert f"different: {name}" in capsys.readouterr().out


def test_the_log_may_differ(finished, runs, tmp_path):
    runs[1]["run.log"] = "other times"
    assert cli.main(["rerun", str(finished), "--outputs", str(tmp_path / "again")]) == 0


def test_a_failed_run_is_not_repeated_and_no_run_is_overwritten(finished, runs, tmp_path, capsys):
    assert cli.main(["rerun", str(finished), "--outputs", str(tmp_path / "outputs")]) == 1
    assert "the run folder already exists" in capsys.readouterr().err
    record = json.loads((finished / "run.json").read_text(encoding="utf-8"))
    (finished / "run.json").write_text(json.dumps({**record, "status": "failed"}), encoding="utf-8")
    assert cli.main(["rerun", str(finished)]) == 1
    assert "did not pass" in capsys.readouterr().err and runs[0] == []


def test_a_run_of_the_same_parameters_under_their_new_names_is_not_overwritten(finished, runs, tmp_path, capsys):
    earlier = tmp_path / "old" / "unet3d_brats" / "demo-1a2b3c4d"  # as an earlier version named the folder
    shutil.copytree(finished, earlier)
    record = json.loads((earlier / "run.json").read_text(encoding="utf-8"))
    record["params"]["step"] = 0.5
    (earlier / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert cli.main(["rerun", str(earlier), "--outputs", str(tmp_path / "outputs")]) == 1
    assert "the run folder already exists" in capsys.readouterr().err and runs[0] == []


def test_a_relative_path_in_an_old_record_is_said(finished, runs, tmp_path, monkeypatch, caplog):
    (tmp_path / "w.pth").touch()
    monkeypatch.chdir(tmp_path)
    record = json.loads((finished / "run.json").read_text(encoding="utf-8"))
    record["params"]["checkpoint"] = "w.pth"
    (finished / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert cli.main(["rerun", str(finished), "--outputs", "again"]) == 0
    assert f"checkpoint w.pth, relative to a folder it does not name: reading {tmp_path / 'w.pth'}" in caplog.text
    assert runs[0][0][1]["outputs"] == str(tmp_path / "again")
