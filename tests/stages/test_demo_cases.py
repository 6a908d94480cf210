"""Demo cases are written by the data stage and by nothing that only asks for cases."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import stages
from helpers.errors import StepOrderError
from helpers.qa.finished import find_run
from helpers.qa.review import open_review
from helpers.run import code
from helpers.stages.data import selected_cases, write_demo_cases

ROOT = Path(__file__).parents[2]
QUICK = {"cases": ["case_1"], "simplify_timeout_s": 0.001}


def test_asking_for_cases_writes_nothing(tiny, tmp_path):
    recipe, run = stages.start_run("tiny", {"outputs": str(tmp_path)})
    with pytest.raises(StepOrderError, match=r"stages\.prepare_data first"):
        selected_cases(recipe, run)
    assert not (tmp_path / ".demo").exists()
    stages.prepare_data(recipe, run)
    assert [case.id for case in selected_cases(recipe, run)] == ["case_1", "case_2", "case_3"]


def test_the_folder_appears_when_every_case_is_written(tiny, tmp_path, monkeypatch):
    recipe, run = stages.start_run("tiny", {"outputs": str(tmp_path)})
    write = tiny.module.TinyCases.write_demo_cases

    def interrupted(self, root, seeds):
        write(self, root, seeds[:1])
        raise KeyboardInterrupt

    monkeypatch.setattr(tiny.module.TinyCases, "write_demo_cases", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_demo_cases(recipe, run)
    assert list((tmp_path / ".demo").iterdir()) == []


def test_cases_drawn_by_other_code_have_a_folder_of_their_own(tiny, tmp_path, monkeypatch):
    recipe, run = stages.start_run("tiny", {"outputs": str(tmp_path)})
    root = write_demo_cases(recipe, run)
    assert write_demo_cases(recipe, run) == root
    digest = code.CodeIndex.digest
    changed = lambda index, *given: dataclasses.replace(digest(index, *given), digest="changed")  # noqa: E731
    monkeypatch.setattr(code.CodeIndex, "digest", changed)
    assert write_demo_cases(recipe, run) != root


def test_a_deleted_case_is_written_again(tiny, tmp_path):
    recipe, run = stages.start_run("tiny", {"outputs": str(tmp_path)})
    root = write_demo_cases(recipe, run)
    before = {path.name: path.read_bytes() for path in root.iterdir()}
    (root / "case_2_image.nii.gz").unlink()
    assert write_demo_cases(recipe, run) == root
    assert {path.name: path.read_bytes() for path in root.iterdir()} == before


def test_a_stage_of_a_finished_run_works_alone(run_pipeline, tmp_path):
    run_pipeline(tmp_path, until="finish", **QUICK)
    recipe, run = stages.start_run("tiny", {"outputs": str(tmp_path), **QUICK})
    assert stages.score_cases(recipe, run).status == "reused"
    run.record.end("passed")


def test_a_review_restores_the_demo_cases_that_were_deleted(run_pipeline, tmp_path):
    done = run_pipeline(tmp_path, until="finish", **QUICK)
    shutil.rmtree(tmp_path / ".demo")
    review = open_review(find_run(tmp_path, "tiny", done.run.folder.name), "ann", tmp_path, interactive=False)
    assert [case.id for case in review.cases] == ["case_1"]


_DRAW = """
import sys, time
from helpers import recipes
from helpers.stages.data import write_demo_cases
from types import SimpleNamespace

recipe = recipes.load("unet_carvana")
params = recipe.prepare_params(outputs=sys.argv[1], demo_seeds=[1, 2])
while time.time() < float(sys.argv[2]):
    pass
root = write_demo_cases(recipe, SimpleNamespace(params=params))
for case in recipe.cases.list_cases(root, params):
    assert recipe.cases.read_case(case, params).truth.any()
print(sorted(path.name for path in root.rglob("*") if path.is_file()))
"""


def test_processes_that_share_a_fresh_folder_read_complete_cases(tmp_path):
    start = str(time.time() + 6)  # after the imports, so that they draw at the same time
    command = [sys.executable, "-c", _DRAW, str(tmp_path / "outputs"), start]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(set(said)) == 1 and said[0].count(".jpg") == 2 and said[0].count("_mask.gif") == 2
    assert [path.name for path in (tmp_path / "outputs" / ".demo").iterdir() if path.name.startswith(".")] == []


def test_a_file_that_exists_is_never_written_again(tiny, tmp_path, monkeypatch):
    recipe, run = stages.start_run("tiny", {"outputs": str(tmp_path)})
    root = write_demo_cases(recipe, run)
    before = {path.name: path.stat().st_mtime_ns for path in root.iterdir()}
    write = tiny.module.TinyCases.write_demo_cases
    drawn = []
    monkeypatch.setattr(
        tiny.module.TinyCases,
        "write_demo_cases",
        lambda self, folder, seeds: drawn.append(folder) or write(self, folder, seeds),
    )
    write_demo_cases(recipe, run)
    assert drawn == []
    (root / ".files.json").unlink()
    write_demo_cases(recipe, run)
    after = {path.name: path.stat().st_mtime_ns for path in root.iterdir()}
    assert drawn and drawn[0] != root
    assert {name for name in before if before[name] != after[name]} <= {".files.json"}
