"""Calibration finds a data set as the run itself does: by its number too."""

from __future__ import annotations

from helpers import stages
from helpers.stages.calibration import calibration_cases
from tests.recipes.nnunet_models import tiny, write_task


def test_calibration_finds_a_data_set_by_its_number(tmp_path, monkeypatch):
    task = write_task(tmp_path, "unetpp3d_liver", 2)
    (tmp_path / "raw").mkdir()
    task.rename(tmp_path / "raw" / "Dataset003_Liver")
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    folder = tiny("liver_plain").write(tmp_path / "model", 2)
    given = {"profile": "cpu", "outputs": str(tmp_path), "checkpoint": str(folder), "data_root": "3"}
    recipe, run = stages.start_run("unetpp3d_liver", {**given, "cases": ["case_0"]})
    assert [case.id for case in calibration_cases(recipe, run)] == ["case_1"]
