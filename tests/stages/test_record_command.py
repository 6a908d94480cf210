"""`cookbook record` measures the model of a run that passed; a run on a double is no result."""

from __future__ import annotations

import json

import pytest

from helpers import cli, stages


@pytest.fixture(scope="module")
def passed(tiny, tmp_path_factory):
    given = {"outputs": str(tmp_path_factory.mktemp("out")), "simplify_timeout_s": 0.001}
    recipe, run = stages.start_run("tiny", given)
    for step in (stages.prepare_data, stages.export_onnx, stages.simplify_onnx, stages.apply_surgery):
        step(recipe, run)
    stages.compile_model(recipe, run)
    stages.infer_cases(recipe, run)
    stages.score_cases(recipe, run)
    run.finish()
    return run


def test_a_record_holds_device_scores_and_times(passed, tmp_path, capsys):
    folder = tmp_path / "results"
    assert cli.main(["record", str(passed.folder), "--seconds", "0.05", "--to", str(folder)]) == 0
    [path] = folder.glob("*.json")
    assert str(path) in capsys.readouterr().out
    record = json.loads(path.read_text(encoding="utf-8"))
    metrics = json.loads(passed.path("metrics.json").read_text(encoding="utf-8"))
    assert record["score"]["cube"] == pytest.approx(metrics["mean"]["cube"], abs=1e-4) and record["score_cases"] == 3
    assert record["input_shape"] == [1, 16, 16, 16] and record["simulated"] is False
    assert record["weights"] == "trained.safetensors" and record["data"] == "demo"
    assert record["device"]["versions"]["openvino"] and record["peak_memory_mb"] > 10
    assert passed.folder.name.endswith(record["run_hash"])


def test_a_run_with_simulated_stages_is_refused(passed, tmp_path, capsys):
    record = passed.path("run.json")
    before = record.read_text(encoding="utf-8")
    content = json.loads(before)
    content["stages"]["compile"]["simulated"] = True
    record.write_text(json.dumps(content), encoding="utf-8")
    try:
        assert cli.main(["record", str(passed.folder), "--seconds", "0.05", "--to", str(tmp_path / "results")]) == 1
    finally:
        record.write_text(before, encoding="utf-8")
    assert "simulated" in capsys.readouterr().err and not list(tmp_path.glob("results/*.json"))


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    assert cli.main(["record", str(tmp_path), "--to", str(tmp_path / "results")]) == 1
    assert capsys.readouterr().err.startswith("error: ")
