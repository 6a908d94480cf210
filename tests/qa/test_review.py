"""A run under review: order, verdicts across reruns, corrected masks."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from helpers import qa
from helpers.errors import DataError
from helpers.qa.corrected import copy_for_editing, read_corrected
from helpers.qa.finished import find_run, list_runs
from helpers.qa.journal import export_verdicts
from helpers.qa.review import open_review
from helpers.qa.steps import edit_folder


def test_runs_are_found_the_newest_first_and_nothing_in_them_changes(outputs):
    before = {path: path.stat().st_mtime_ns for path in outputs.rglob("run.json")}
    runs = list_runs(outputs)
    assert len(runs) == 2 and runs[0].started > runs[1].started
    assert find_run(outputs, "tiny", runs[1].name).folder == runs[1].folder
    assert {path: path.stat().st_mtime_ns for path in outputs.rglob("run.json")} == before
    with pytest.raises(DataError, match="no passed run demo-00000000 of tiny"):
        find_run(outputs, "tiny", "demo-00000000")


def test_a_run_that_did_not_pass_is_not_offered(outputs, run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "tiny" / run.name)
    record = tmp_path / "tiny" / run.name / "run.json"
    assert len(list_runs(tmp_path)) == 1
    record.write_text(
        record.read_text(encoding="utf-8").replace('"status": "passed"', '"status": "failed"', 1), encoding="utf-8"
    )
    assert not list_runs(tmp_path)


def test_the_worst_case_comes_first(outputs, run):
    cases = open_review(run, "ann", outputs).cases
    assert len(cases) == 6 and [case.score for case in cases] == sorted(case.score for case in cases)


def test_a_run_that_disagrees_is_flagged(outputs, run, other):
    flags = [flag.name for case in open_review(run, "ann", outputs, other).cases for flag in case.flags]
    assert "disagreement" in flags
    again = open_review(run, "ann", outputs, run)
    assert not [flag for case in again.cases for flag in case.flags if flag.name == "disagreement"]


def test_a_verdict_is_there_for_the_next_reader_and_after_a_rerun(outputs, run, walk):
    review = open_review(run, "ann", outputs)
    worst = review.cases[0].id
    review.judge(worst, "reject", "too small")
    assert review.progress() == (1, 6)
    walk(outputs, cache=False)
    again = open_review(find_run(outputs, "tiny", run.name), "bob", outputs)
    assert again.words(worst)["ann"].note == "too small" and again.own_word(worst) is None
    assert again.progress() == (0, 6)
    (row,) = csv.DictReader(
        export_verdicts(again.verdicts, outputs / "qa.csv").open(encoding="utf-8-sig", newline="")
    )
    assert (row["who"], row["run_hash"], row["case"], row["verdict"]) == ("ann", run.hash, worst, "reject")


def test_a_mask_that_changed_is_not_judged_any_more(outputs, run, tmp_path):
    shutil.copytree(outputs, tmp_path / "moved", dirs_exist_ok=True)
    moved = find_run(tmp_path / "moved", "tiny", run.name)
    review = open_review(moved, "ann", tmp_path / "moved")
    case = review.cases[0].id
    review.judge(case, "accept")
    mask = sitk.ReadImage(str(moved.mask_path(case)))
    sitk.WriteImage(mask * 0, str(moved.mask_path(case)))
    assert open_review(moved, "ann", tmp_path / "moved").own_word(case) is None


def test_a_corrected_mask_goes_out_and_comes_back(outputs, run, tmp_path):
    case = run.cases[0].id
    image, mask, labels = copy_for_editing(run, case, tmp_path)
    assert sitk.ReadImage(str(image)).GetSize() == sitk.ReadImage(str(mask)).GetSize()
    assert '1 230 159 0 1 1 1 "cube"' in labels.read_text(encoding="utf-8")
    edited = sitk.ReadImage(str(mask))  # as an editor would: another program reads, changes and writes it
    before = sitk.GetArrayFromImage(edited)
    edited[0, 0, 0] = 1
    sitk.WriteImage(sitk.Cast(edited, sitk.sitkUInt16), str(mask))
    found = read_corrected(run, case, mask, outputs)
    assert found.changed_voxels == 1 and 0.99 < found.dice["cube"] < 1
    kept = sitk.GetArrayFromImage(sitk.ReadImage(str(found.path)))
    assert np.count_nonzero(kept != before) == 1 and kept[0, 0, 0] == 1
    with pytest.raises(DataError, match="edited already"):
        copy_for_editing(run, case, tmp_path)


def test_a_corrected_mask_on_another_grid_or_with_another_label_is_refused(outputs, run, tmp_path):
    case = run.cases[0].id
    _, mask, _ = copy_for_editing(run, case, tmp_path)
    image = sitk.ReadImage(str(mask))
    image.SetOrigin([1.0, 2.0, 3.0])
    sitk.WriteImage(image, str(tmp_path / "moved.nii.gz"))
    with pytest.raises(DataError, match="another grid"):
        read_corrected(run, case, tmp_path / "moved.nii.gz", tmp_path)
    sitk.WriteImage(sitk.ReadImage(str(mask)) + 6, str(tmp_path / "labels.nii.gz"))
    with pytest.raises(DataError, match="labels that Tiny does not have"):
        read_corrected(run, case, tmp_path / "labels.nii.gz", tmp_path)
    assert not list(tmp_path.rglob("corrected/**/*.nii.gz"))


def test_the_notebooks_steps_carry_a_mask_out_and_back(outputs, run):
    review = qa.start_review("tiny", run=run.name, reader="ann", outputs=str(outputs), interactive=False)
    case = run.cases[1].id
    assert case in repr(qa.export_for_editing(review, case))
    edited = edit_folder(review) / f"{case}_mask.nii.gz"
    image = sitk.ReadImage(str(edited))
    image[1, 1, 1] = 1
    sitk.WriteImage(image, str(edited))
    assert f"{case}  1  cube 0.99" in repr(qa.import_corrected(review, case))
    review.judge(case, "reject", "=1+1")
    shown = repr(qa.export_review(review))
    assert "rejected in this run: 1" in shown and case in shown
    assert "Nothing to correct" in repr(qa.export_for_editing(review, None))
    assert case in repr(qa.show_review(review)) and "ann: reject" in repr(qa.show_review(review))
