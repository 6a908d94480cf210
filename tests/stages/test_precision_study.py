"""The precision study on the tiny recipe: every cell judged, graphs shared, the same bytes in another process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import stages, study
from helpers.errors import ParameterError

GIVEN = {
    "simplify_timeout_s": 0.001,
    "calibration_seeds": [11],
    "study_targets": "onnxruntime",
    "study_precisions": "f32,int8",
    "study_batches": "1,2",
    "study_seconds": 0.01,
}
FILES = {"table.json", "speeds.json", "table.html"}


@pytest.fixture(scope="module")
def studied(tiny, tmp_path_factory):
    recipe, run = stages.start_run("tiny", {"outputs": str(tmp_path_factory.mktemp("out")), **GIVEN})
    _to_graph(recipe, run)
    return run, study.study_precisions(recipe, run, always=True)


def _to_graph(recipe, run):
    stages.prepare_data(recipe, run)
    stages.export_onnx(recipe, run)
    stages.simplify_onnx(recipe, run)
    stages.apply_surgery(recipe, run)


def _table(run) -> dict:
    return json.loads(run.path("precision/table.json").read_text(encoding="utf-8"))


def test_every_cell_has_a_row_and_a_gate(studied):
    run, result = studied
    rows = _table(run)["rows"]
    cells = [(row["cell"]["target"], row["cell"]["precision"]) for row in rows]
    assert cells == [(target, precision) for target in ("cpu", "onnxruntime") for precision in ("f32", "int8")]
    assert all(row["status"] == "made" and row["labels"] == 3 * 24**3 and not row["degenerate"] for row in rows)
    assert rows[0]["change"] == 0 and rows[0]["interval"] == [0, 0] and rows[0]["changed_labels"] == 0
    assert rows[0]["passed"] is True and 0 < rows[1]["error"] < 0.1
    assert result.values["passed"].keys() == {"cpu f32", "cpu int8", "onnxruntime f32", "onnxruntime int8"}
    assert {path.name for path in run.path("precision").iterdir()} == FILES
    assert run.path("figures/precision.png").stat().st_size > 1000


def test_a_change_is_the_difference_of_the_means(studied):
    run, _ = studied
    base, other = (row for row in _table(run)["rows"] if row["cell"]["target"] == "cpu")
    assert other["change"] == pytest.approx(other["scores"]["cube"] - base["scores"]["cube"], abs=1e-6)
    low, high = other["interval"]
    assert low <= other["change"] <= high


def test_speeds_are_measured_for_each_batch(studied):
    speeds = json.loads(studied[0].path("precision/speeds.json").read_text(encoding="utf-8"))
    assert [speed["batch"] for speed in speeds["cpu int8"]] == [1, 2]
    for found in speeds.values():
        for speed in found:
            assert speed["samples_per_second"] == pytest.approx(speed["batch"] * 1e3 / speed["p50_ms"])
            assert speed["calls"] >= 5 and speed["p50_ms"] <= speed["p99_ms"] and speed["peak_rss_mb"] > 20


def test_the_cells_share_the_graph(studied):
    run, _ = studied
    cells = [path for path in run.folder.parent.iterdir() if path != run.folder]
    assert len(cells) >= 3
    for folder in cells:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        assert record["status"] == "passed"
        # A graph that onnxsim had no time for is never reused.
        assert {record["stages"][name]["status"] for name in ("export", "surgery")} == {"reused"}


def test_switched_off_it_runs_nothing(tiny, tmp_path):
    recipe, run = stages.start_run("tiny", {"outputs": str(tmp_path), **GIVEN})
    result = study.study_precisions(recipe, run)
    assert result.status == "not run here" and "set precision_study" in str(result)
    assert not run.path("precision").exists()


def test_a_precision_that_no_target_runs_is_refused(tiny, tmp_path):
    with pytest.raises(ParameterError, match="unknown precision 'f8'"):
        stages.start_run("tiny", {"outputs": str(tmp_path), **GIVEN, "study_precisions": "f32,f8"})
    given = GIVEN | {"study_precisions": "qint8_mixed_float16"}
    recipe, run = stages.start_run("tiny", {"outputs": str(tmp_path), **given})
    with pytest.raises(ParameterError, match="no target of the study"):
        study.study_precisions(recipe, run)


_ELSEWHERE = """
import sys
from pathlib import Path
tests, folder, outputs = sys.argv[1:]
sys.path.insert(0, tests)
from helpers import recipes, stages, study
recipes.register("tiny", "tiny_recipe:RECIPE", params_folder=Path(folder) / "params")
given = {"cache": False, "simplify_timeout_s": 0.001, "calibration_seeds": [11], "study_seconds": 0.01}
given |= {"study_targets": "onnxruntime", "study_precisions": "f32,int8", "study_batches": "1,2"}
recipe, run = stages.start_run("tiny", {"outputs": outputs, **given})
for stage in (stages.prepare_data, stages.export_onnx, stages.simplify_onnx, stages.apply_surgery):
    stage(recipe, run)
study.study_precisions(recipe, run, always=True)
run.finish()
"""


def test_the_table_is_the_same_bytes_in_another_process_and_an_empty_folder(studied, tiny, tmp_path):
    tests = Path(__file__).parent
    command = [sys.executable, "-c", _ELSEWHERE, str(tests), str(tiny.folder), str(tmp_path / "elsewhere")]
    subprocess.run(command, check=True, cwd=tests.parents[1], timeout=300, capture_output=True)
    (other,) = (tmp_path / "elsewhere").glob("tiny/*/precision/table.json")
    assert other.read_bytes() == studied[0].path("precision/table.json").read_bytes()


def test_masks_of_one_label_fail_the_gate():
    from helpers.study.precision import Cell, PrecisionRow

    good = PrecisionRow(Cell("cpu", "int8"), "made", error=0.1, change=0.001)
    assert good.passed is True
    empty = PrecisionRow(Cell("cpu", "int8"), "made", error=0.1, change=0.001, degenerate=("case_1",))
    assert empty.passed is False and empty.cells()["masks"] == "single label in 1"
    assert PrecisionRow(Cell("cpu", "int8"), "made", error=float("inf"), change=0.0).passed is False
    assert PrecisionRow(Cell("cpu", "bf16"), "made", error=0.1, change=-0.0021).passed is False
    assert PrecisionRow(Cell("cpu", "f16"), "not run here").passed is None
