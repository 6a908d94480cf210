"""Times of a device's double are called simulated wherever they are shown, and measured times never are."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from helpers.run.measure import label_step
from helpers.run.result import StageResult
from helpers.study.latency import published_speeds
from helpers.study.precision import Cell, PrecisionRow
from helpers.view import show_case_table
from helpers.view.precision import draw_precision, precision_html
from helpers.view.tables import show_run
from tests.view.test_figure_files import texts


def _result(simulated: bool) -> StageResult:
    timings = {"read": 0.1, "open": 0.2, "infer": 2.5, "write": 0.1}
    return StageResult("infer/a", "Mask of a", "made", (), (), {}, {}, 1.25, 0, "", timings, "", simulated)


def _speed(batch: int, simulated: bool) -> dict:
    steps = {"h2d_ms": None, "execute_ms": 1.0, "d2h_ms": None}
    quantiles = {"p50_ms": 12.5, "p90_ms": 13.0, "p99_ms": 14.0}
    rest = {"samples_per_second": 80.0, "peak_rss_mb": 90.0, "simulated": simulated}
    return {"batch": batch, **quantiles, **steps, **rest}


@pytest.fixture
def study():
    """The rows and speeds of one measured cell and one of a double."""
    cells = {"cpu f32": False, "ascend310p3 f16": True}
    rows = [PrecisionRow(Cell(*name.split()), "made", error=0.0, change=0.0, interval=(0.0, 0.0)) for name in cells]
    return rows, {name: [_speed(1, simulated), _speed(4, simulated)] for name, simulated in cells.items()}


@pytest.mark.parametrize("simulated", [True, False])
def test_a_stage_marks_simulated_times_in_the_log_and_in_the_notebook(simulated):
    result = _result(simulated)
    for shown in (str(result), result._repr_html_()):
        assert ("1.2 s simulated" in shown) is simulated and ("simulated" in shown) is simulated
    assert result.to_json()["simulated"] is simulated


@pytest.mark.parametrize("simulated", [True, False])
def test_the_case_table_marks_the_steps_on_the_device(simulated):
    header = repr(show_case_table([_result(simulated)], {}, ())).splitlines()[0]
    assert ("infer (simulated) s" in header and "open (simulated) s" in header) is simulated
    assert "read s" in header and "write s" in header


def test_only_steps_on_the_device_are_marked():
    assert [label_step(step, True) for step in ("read", "open")] == ["read", "open (simulated)"]
    assert label_step("infer", False) == "infer"


def test_the_stages_of_a_finished_run_keep_the_mark(tmp_path):
    stage = {"title": "Mask of a", "status": "made", "seconds": 1.25, "ended": 1.0}
    stages = {"a": {**stage, "simulated": True}, "b": {**stage, "ended": 2.0, "simulated": False}}
    content = {"params": {}, "environment": {}, "status": "passed", "stages": stages}
    (tmp_path / "run.json").write_text(json.dumps(content), encoding="utf-8")
    _, first, second = repr(show_run(tmp_path)).splitlines()
    assert "1.2 simulated" in first and "simulated" not in second


def test_the_precision_page_distinguishes_measured_from_simulated(study):
    rows, speeds = study
    page = precision_html("A model", rows, speeds, [])
    assert page.count(">simulated<") == 2 and page.count(">measured<") == 2
    assert "simulated" not in precision_html("A model", rows[:1], {"cpu f32": speeds["cpu f32"]}, [])


def test_the_precision_picture_marks_every_time_of_a_double(study):
    rows, speeds = study
    shown = texts(draw_precision("A model", rows, speeds, published_speeds("unet3d_brats")))
    assert " 12.5 (simulated)" in shown and " 12.5" in shown  # bars
    assert "ascend310p3 f16 (simulated)" in shown and "cpu f32" in shown  # lines next to the source's
    assert "cpu f32 (simulated)" not in shown


def test_a_comparison_marks_the_run_on_a_double():
    from helpers.study.compare_runs import Comparison

    def record(simulated: bool) -> dict:
        return {"stages": {"infer/a": {"timings": {"infer": 2.0}, "simulated": simulated}}}

    runs = [SimpleNamespace(name="demo-1"), SimpleNamespace(name="ascend310p3-2")]
    comparison = SimpleNamespace(runs=runs, records=[record(False), record(True)], cases=["a"])
    assert list(Comparison.mean_seconds(comparison)) == ["demo-1", "ascend310p3-2 (simulated)"]
