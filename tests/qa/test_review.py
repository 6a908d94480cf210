"""A run under review: the order of its cases, verdicts across reruns, corrected masks."""

from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from helpers import qa
from helpers.cli import main
from helpers.errors import DataError
from helpers.qa.editing import export_case, import_mask
from helpers.qa.finished import find_run, list_runs
from helpers.qa.journal import export_verdicts
from helpers.qa.review import open_review
from helpers.qa.steps import edit_folder


def test_runs_are_found_newest_first_and_are_not_changed(outputs):
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


def test_disagreement_with_another_run_is_flagged(outputs, run, other):
    flags = [flag.name for case in open_review(run, "ann", outputs, other).cases for flag in case.flags]
    assert "disagreement" in flags
    again = open_review(run, "ann", outputs, run)
    assert not [flag for case in again.cases for flag in case.flags if flag.name == "disagreement"]


def test_measures_that_an_earlier_version_cached_are_completed(outputs, run):
    open_review(run, "ann", outputs)
    files = sorted((outputs / ".qa" / "measures").iterdir())
    complete = {path: path.read_text(encoding="utf-8") for path in files}
    for path, text in complete.items():
        earlier = {name: value for name, value in json.loads(text).items() if name not in ("roughness", "holes")}
        path.write_text(json.dumps(earlier), encoding="utf-8")
    open_review(run, "ann", outputs)
    assert len(files) >= 5 and {path: path.read_text(encoding="utf-8") for path in files} == complete


def test_a_verdict_is_seen_by_the_next_reader_and_after_a_rerun(outputs, run, run_pipeline):
    review = open_review(run, "ann", outputs)
    worst = review.cases[0].id
    review.judge(worst, "reject", "too small")
    assert review.progress() == (1, 6)
    run_pipeline(outputs, cache=False)
    again = open_review(find_run(outputs, "tiny", run.name), "bob", outputs)
    assert again.latest_verdicts(worst)["ann"].note == "too small" and again.own_verdict(worst) is None
    assert again.progress() == (0, 6)
    (row,) = csv.DictReader(
        export_verdicts(again.verdicts, outputs / "qa.csv").open(encoding="utf-8-sig", newline="")
    )
    assert (row["who"], row["run_hash"], row["case"], row["verdict"]) == ("ann", run.hash, worst, "reject")


def test_a_changed_mask_has_no_verdict(outputs, run, tmp_path):
    shutil.copytree(outputs, tmp_path / "moved", dirs_exist_ok=True)
    moved = find_run(tmp_path / "moved", "tiny", run.name)
    review = open_review(moved, "ann", tmp_path / "moved")
    case = review.cases[0].id
    review.judge(case, "accept")
    mask = sitk.ReadImage(str(moved.mask_path(case)))
    sitk.WriteImage(mask * 0, str(moved.mask_path(case)))
    assert open_review(moved, "ann", tmp_path / "moved").own_verdict(case) is None


def test_a_mask_is_exported_edited_and_imported(outputs, run, tmp_path):
    case = run.cases[0].id
    image, mask, labels = export_case(run, case, tmp_path)
    assert sitk.ReadImage(str(image)).GetSize() == sitk.ReadImage(str(mask)).GetSize()
    assert '1 230 159 0 1 1 1 "cube"' in labels.read_text(encoding="utf-8")
    edited = sitk.ReadImage(str(mask))  # as an editor would: another program reads, changes and writes it
    before = sitk.GetArrayFromImage(edited)
    edited[0, 0, 0] = 1
    sitk.WriteImage(sitk.Cast(edited, sitk.sitkUInt16), str(mask))
    found = import_mask(run, case, mask, outputs)
    assert found.changed_voxels == 1 and 0.99 < found.dice["cube"] < 1
    kept = sitk.GetArrayFromImage(sitk.ReadImage(str(found.path)))
    assert np.count_nonzero(kept != before) == 1 and kept[0, 0, 0] == 1
    with pytest.raises(DataError, match="edited already"):
        export_case(run, case, tmp_path)


def test_a_corrected_mask_on_another_grid_or_with_another_label_is_refused(outputs, run, tmp_path):
    case = run.cases[0].id
    _, mask, _ = export_case(run, case, tmp_path)
    image = sitk.ReadImage(str(mask))
    image.SetOrigin([1.0, 2.0, 3.0])
    sitk.WriteImage(image, str(tmp_path / "moved.nii.gz"))
    with pytest.raises(DataError, match=r"grid.*origin \(1, 2, 3\)"):
        import_mask(run, case, tmp_path / "moved.nii.gz", tmp_path)
    sitk.WriteImage(sitk.ReadImage(str(mask)) + 6, str(tmp_path / "labels.nii.gz"))
    with pytest.raises(DataError, match="labels that Tiny does not have"):
        import_mask(run, case, tmp_path / "labels.nii.gz", tmp_path)
    assert not list(tmp_path.rglob("corrected/**/*.nii.gz"))


def test_the_steps_of_the_notebook_export_and_import_a_mask(outputs, run):
    review = qa.start_review("tiny", run=run.name, reader="ann", outputs=str(outputs), interactive=False)
    case = run.cases[1].id
    assert case in repr(qa.export_for_editing(review, case))
    edited = edit_folder(review) / f"{case}_mask.nii.gz"
    image = sitk.ReadImage(str(edited))
    image[1, 1, 1] = 1
    sitk.WriteImage(image, str(edited))
    assert re.search(rf"{case} +1 +cube 0\.99", repr(qa.import_corrected(review, case)))
    review.judge(case, "reject", "=1+1")
    shown = repr(qa.export_review(review))
    assert re.search(rf"rejected in this run +1 +{case}", shown)
    assert "Nothing to export" in repr(qa.export_for_editing(review, None))
    assert case in repr(qa.show_review(review)) and "ann: reject" in repr(qa.show_review(review))


def test_the_commands_compare_and_decide(outputs, run, capsys):
    review = open_review(run, "ann", outputs)
    for case in review.cases:
        review.judge(case.id, "accept")
    other = open_review(run, "bob", outputs)
    for case in other.cases:
        other.judge(case.id, "reject" if case == other.cases[0] else "accept")
    worst = review.cases[0].id
    assert main(["agreement", str(run.folder)]) == 0
    shown = capsys.readouterr().out
    assert "Cohen's kappa 0.000" in shown and f"{worst}" in shown and "disagreement" in shown
    assert main(["adjudicate", str(run.folder), worst, "reject", "--reader", "carl", "--note", "leaks"]) == 0
    assert f"{worst}: reject by carl" in capsys.readouterr().out
    assert main(["agreement", str(run.folder), "--readers", "ann,bob"]) == 0
    assert "adjudicated" in capsys.readouterr().out
    folder = outputs / "qa" / "tiny" / run.name
    assert sorted(path.name for path in folder.iterdir()) == ["agreement.csv", "agreement.html", "agreement.json"]
    assert main(["adjudicate", str(run.folder), "nowhere", "reject", "--reader", "carl"]) == 1
    assert "the run has no case 'nowhere'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["adjudicate", str(run.folder), worst, "fine", "--reader", "carl"])
