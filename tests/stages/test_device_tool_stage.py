"""The device stage done by hand: write, run the shown commands with the tools' doubles, come back to the same run."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from helpers import recipes
from helpers.errors import DeviceError, ParameterError, ResourceError
from helpers.inference import as_predictor
from helpers.stages.data import selected_cases

SLOW = pytest.mark.slow
DOUBLES = Path(__file__).parents[1] / "doubles"
BY_HAND = {"target": "ascend310p3", "batch_size": 3, "cases": ["case_1", "case_3"], "simplify_timeout_s": 0.001}


def run_by_hand(done, doubles) -> None:
    """What the user does between the two runs."""
    facts = done.made["device_tool"].facts
    doubles.run(done.made["compile"].facts["atc"], done.run.folder)
    for name, line in facts.items():
        if name.startswith("command"):
            doubles.run(line, done.run.path(facts["run in"].partition(" ")[0]))
    doubles.assert_clean()


def expected_masks(done, folder: Path) -> dict[str, bytes]:
    """Masks of the same graph in this process, batch by batch, without a device."""
    session = onnxruntime.InferenceSession(str(done.run.path("model.onnx")), providers=["CPUExecutionProvider"])
    masks = {}
    for files in selected_cases(done.recipe, done.run):
        case = done.recipe.cases.read_case(files, done.run.params)
        predictor = as_predictor(lambda batch: session.run(None, {"image": batch})[0])
        classes = done.recipe.preparation.segment(case, predictor, done.run.params)
        done.recipe.cases.write_mask(classes, case, folder / f"{files.id}.nii.gz")
        masks[files.id] = (folder / f"{files.id}.nii.gz").read_bytes()
    return masks


@pytest.mark.parametrize(("tool", "batch_size", "chips"), [("msame", 3, 1), ("benchmark", 1, 4), ("ais_bench", 3, 1)])
def test_masks_equal_those_of_this_process(tool, batch_size, chips, run_pipeline, outputs, tmp_path, cann_doubles):
    given = {**BY_HAND, "device_tool": tool, "batch_size": batch_size, "device_tool_chips": chips}
    first = run_pipeline(outputs, **given)
    stage = first.made["device_tool"]
    assert stage.status == "not run here" and "16 samples, 0.2 MiB to write" in stage.facts["on disk"]
    assert sum(name.startswith("command") for name in stage.facts) == chips
    assert not Path(shlex.split(stage.facts["command 1"])[-1]).is_absolute()
    waiting = run_pipeline(outputs, until="infer", **given)
    assert waiting.made["device_tool"].status == "not run here"
    assert {mask.status for mask in waiting.made["infer"]} == {"reused"}

    run_by_hand(first, cann_doubles)
    again = run_pipeline(outputs, **given)
    assert again.run.folder == first.run.folder
    assert again.made["device_tool"].status == "made"
    assert "samples/s on one device" in again.made["device_tool"].facts["measured by the tool"]
    assert {mask.status for mask in again.made["infer"]} == {"made"}
    for name, expected in expected_masks(again, tmp_path).items():
        assert again.run.path(f"masks/{name}.nii.gz").read_bytes() == expected
    assert again.made["score"].values["mean"]["cube"] > 0.9
    assert f"The masks come from {tool}'s outputs." in str(again.made["finish"])
    assert {mask.status for mask in run_pipeline(outputs, until="infer", **given).made["infer"]} == {"reused"}


@pytest.fixture
def cann(tiny, monkeypatch, cann_doubles):
    """A machine with CANN: the target `ascend_here` compiles with ATC and runs on pyACL in a worker."""
    for name, value in cann_doubles.environment().items():
        monkeypatch.setenv(name, value)
    folder = tiny.folder / "params" / "targets"
    text = (folder / "ascend310p3.yaml").read_text(encoding="utf-8")
    (folder / "ascend_here.yaml").write_text(f"{text}python: {sys.executable}\n", encoding="utf-8")
    yield cann_doubles
    (folder / "ascend_here.yaml").unlink()


@pytest.mark.parametrize("tool", ["benchmark", *(pytest.param(name, marks=SLOW) for name in ("msame", "ais_bench"))])
def test_masks_equal_those_of_pyacl_on_the_same_model(tool, run_pipeline, outputs, tmp_path, cann):
    given = {"target": "ascend_here", "cases": ["case_1", "case_3"], "batch_size": 3, "simplify_timeout_s": 0.001}
    device = run_pipeline(outputs, until="infer", **given)
    by_hand = run_pipeline(outputs, until="infer", device_tool=tool, **given)
    assert by_hand.made["compile"].status == "reused"
    executed = sum(model["executes"] for report in cann.read_reports() for model in report["models"])
    facts = by_hand.made["device_tool"].facts
    for line in (facts[name] for name in facts if name.startswith("command")):
        cann.run(line, by_hand.run.path(facts["run in"].partition(" ")[0]))
    again = run_pipeline(outputs, until="infer", device_tool=tool, **given)
    for name in ("masks/case_1.nii.gz", "masks/case_3.nii.gz"):
        assert again.run.path(name).read_bytes() == device.run.path(name).read_bytes()
    assert {mask.status for mask in again.made["infer"]} == {"made"} and executed > 0
    cann.assert_clean(at_least=2)


def test_the_target_ais_bench_gives_the_same_masks_as_pyacl(run_pipeline, outputs, tmp_path, tiny, cann):
    given = {"cases": ["case_1", "case_3"], "batch_size": 3, "simplify_timeout_s": 0.001, "until": "infer"}
    python = tmp_path / "python-with-ais-bench"
    path = f"{DOUBLES / 'python'}:{DOUBLES / 'cann' / 'python'}"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{path}" exec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    folder = tiny.folder / "params" / "targets"
    text = (folder / "ais_bench.yaml").read_text(encoding="utf-8")
    (folder / "ais_bench.yaml").write_text(f"{text}python: {python}\n", encoding="utf-8")
    ours = run_pipeline(outputs, target="ais_bench", **given)
    (folder / "ais_bench.yaml").write_text(text, encoding="utf-8")
    device = run_pipeline(outputs, target="ascend_here", **given)
    for name in ("masks/case_1.nii.gz", "masks/case_3.nii.gz"):
        assert ours.run.path(name).read_bytes() == device.run.path(name).read_bytes()
    cann.assert_clean(at_least=2)


def test_outputs_of_another_model_give_other_masks_and_a_broken_one_gives_none(
    run_pipeline, outputs, tmp_path, cann_doubles
):
    given = {**BY_HAND, "device_tool": "ais_bench", "cases": ["case_1"]}
    first = run_pipeline(outputs, until="device_tool", **given)
    run_by_hand(first, cann_doubles)
    run_pipeline(outputs, until="infer", **given)
    folder = first.run.path(first.made["device_tool"].facts["run in"].partition(" ")[0])
    for path in (folder / "output" / "run").iterdir():
        (-np.fromfile(path, np.float32)).tofile(path)
    turned = run_pipeline(outputs, until="infer", **given)
    assert {mask.status for mask in turned.made["infer"]} == {"made"}
    mask = turned.recipe.cases.read_mask(
        turned.run.path("masks/case_1.nii.gz"),
        turned.recipe.cases.read_case(selected_cases(turned.recipe, turned.run)[0], turned.run.params),
    )
    assert mask.mean() > 0.5
    path.write_bytes(b"short")
    with pytest.raises(DeviceError, match="truncated or from another model"):
        run_pipeline(outputs, until="infer", **given)


def test_a_removed_exchange_is_written_again(run_pipeline, outputs, tmp_path):
    given = {**BY_HAND, "device_tool": "msame", "cases": ["case_2"]}
    first = run_pipeline(outputs, until="device_tool", **given)
    shutil.rmtree(first.run.path("device_tool"))
    again = run_pipeline(outputs, until="device_tool", **given)
    assert any(again.run.path("device_tool").rglob("*.bin"))


def test_without_enough_disk_space_nothing_is_written(run_pipeline, outputs, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 10))
    with pytest.raises(ResourceError, match="8 samples"):
        run_pipeline(outputs, until="device_tool", **{**BY_HAND, "cases": ["case_3"]}, device_tool="msame")
    assert not run_pipeline.last.run.path("device_tool").exists()


def test_without_a_tool_nothing_is_written(run_pipeline, outputs, tmp_path):
    done = run_pipeline(outputs, until="device_tool", cases=["case_1"], simplify_timeout_s=0.001)
    assert "not set" in done.made["device_tool"].facts["device tool"]
    assert not done.run.path("device_tool").exists()


@pytest.mark.parametrize(
    ("given", "telling"),
    [
        ({"target": "cpu"}, "msame runs Ascend models only"),
        ({"target": "ascend310p3", "batch_gears": [1, 4]}, "a single input shape"),
        ({"target": "ascend310p3", "atc": {"f16_input": True}}, "float32 inputs"),
    ],
)
def test_what_a_tool_cannot_do_is_refused_before_any_work(tiny, given, telling):
    with pytest.raises(ParameterError, match=telling):
        recipes.load("tiny").prepare_params(device_tool="msame", **given)
