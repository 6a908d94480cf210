"""`cookbook profile` times the nodes of a run's compiled model, and refuses a run that has none."""

from __future__ import annotations

import json

import pytest

from helpers import cli, stages
from helpers.stages.artifact import FOLDER


@pytest.fixture
def compiled(tiny, outputs, request):
    recipe, run = stages.start_run(
        "tiny", {"outputs": str(outputs), "target": request.param, "simplify_timeout_s": 0.001}
    )
    stages.prepare_data(recipe, run)
    stages.export_onnx(recipe, run)
    stages.simplify_onnx(recipe, run)
    stages.apply_surgery(recipe, run)
    stages.compile_model(recipe, run)
    return run


@pytest.mark.parametrize("compiled", ["cpu", "torch"], indirect=True)
def test_a_profile_is_written_next_to_the_run(compiled, capsys, monkeypatch):
    monkeypatch.setattr("helpers.study.peaks._STREAM_VALUES", 1000)
    assert cli.main(["profile", str(compiled.folder), "--seconds", "0.01"]) == 0
    shown = capsys.readouterr().out
    assert "share of the peak" in shown and str(compiled.folder / "profile") in shown
    found = json.loads((compiled.folder / "profile/profile.json").read_text(encoding="utf-8"))
    assert found["macs"] > 0 and found["nodes"] and found["fallbacks"]["layers in another precision"] == 0


def _error(capsys) -> str:
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 1 and shown[0].startswith("error: ")
    return shown[0]


def test_a_folder_without_a_compiled_model_is_refused(tmp_path, capsys):
    assert cli.main(["profile", str(tmp_path)]) == 1
    assert "no compiled model" in _error(capsys) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("compiled", ["cpu"], indirect=True)
def test_a_vendors_runtime_is_profiled_by_its_own_tool(compiled, capsys):
    manifest = compiled.path(FOLDER) / "manifest.json"
    before = manifest.read_text(encoding="utf-8")
    manifest.write_text(before.replace('"runtime": "openvino"', '"runtime": "ascend"'), encoding="utf-8")
    try:
        found = json.loads(manifest.read_text(encoding="utf-8")) | {"target": "ascend310"}
        manifest.write_text(json.dumps(found), encoding="utf-8")
        assert cli.main(["profile", str(compiled.folder)]) == 1
        assert "vendor's own profiler" in _error(capsys)
    finally:
        manifest.write_text(before, encoding="utf-8")


def test_a_batch_of_nothing_is_refused(tmp_path, capsys):
    assert cli.main(["profile", str(tmp_path), "--batch", "0"]) == 2
    assert "--batch" in _error(capsys)
