"""Without the vendor's compiler its command is shown, nothing is faked, and the pipeline continues on the CPU."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest

from helpers.compile.atc import AtcCompiler
from helpers.data.volume import read_volume
from helpers.errors import CompileError, ParameterError
from helpers.run import read_run_status
from helpers.stages.artifact import read_manifest, running_precision, running_target

QUICK = {"simplify_timeout_s": 0.001, "cases": ["case_1"]}


@pytest.fixture(scope="module")
def without_cann():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AtcCompiler, "identity", lambda self, target: None)
        yield


@pytest.fixture(scope="module")
def done(run_pipeline, tmp_path_factory, without_cann):
    return run_pipeline(tmp_path_factory.mktemp("outputs"), target="ascend310p3", **QUICK)


def test_the_stage_shows_its_command_and_says_not_run_here(done):
    result = done.made["compile"]
    assert result.status == "not run here"
    command = shlex.split(result.facts["atc"])
    assert command[0] == "atc"
    assert {"--model=model.onnx", "--output=compiled/model", "--soc_version=Ascend310P3"} <= set(command)
    assert not list(done.run.folder.rglob("*.om"))
    assert done.run.path("model.onnx").is_file()


def test_the_run_passes_by_the_gates_of_what_ran_and_says_what_did_not(done):
    status, reason = read_run_status(done.run.path("run.json"))
    assert status == "passed"
    assert "not run here: Compile for Huawei Ascend 310P3" in reason and "OpenVINO on the CPU, f32" in reason
    assert reason in str(done.made["finish"])
    stages = json.loads(done.run.path("run.json").read_text(encoding="utf-8"))["stages"]
    assert stages["compile"]["status"] == "not run here"
    assert stages["compile_fallback"]["status"] == "made"


def test_what_ran_is_the_cpu_in_f32_with_the_f32_limit(done):
    manifest = read_manifest(done.run)
    assert (manifest.asked, manifest.target, manifest.precision) == ("ascend310p3", "cpu", "f32")
    assert manifest.is_fallback
    assert (running_target(done.run).name, running_precision(done.run)) == ("cpu", "f32")
    (check,) = [check for check in done.made["parity"].checks if check.name == "torch ↔ device"]
    assert check.figure.endswith("limit 0.0001")


def test_the_files_that_a_command_names_are_in_the_runs_folder(run_pipeline, tmp_path, without_cann):
    done = run_pipeline(
        tmp_path, target="ascend310p3", atc={"keep_f32": ["OpType::Resize", "head"]}, until="vendor", **QUICK
    )
    for stage, line in (("compile", "atc"), ("vendor", "Huawei Ascend 310")):
        flags = dict(part.partition("=")[::2] for part in shlex.split(done.made[stage].facts[line]))
        assert done.run.path(flags["--keep_dtype"]).read_text(encoding="utf-8") == "OpType::Resize\nhead\n"
        assert done.run.path(flags["--model"]).is_file()


def test_the_masks_are_those_of_the_cpu_target(done, run_pipeline, tmp_path):
    cpu = run_pipeline(tmp_path, until="infer", **QUICK)
    ours, theirs = (read_volume(d.run.path("masks/case_1.nii.gz")).array for d in (done, cpu))
    assert np.array_equal(ours, theirs)


def test_a_target_without_a_stand_in_ends_the_run(run_pipeline, tmp_path, without_cann, tiny):
    targets = tiny.folder / "params" / "targets"
    text = (targets / "ascend310p3.yaml").read_text(encoding="utf-8")
    (targets / "lonely.yaml").write_text(text.replace("fallback: cpu\n", ""), encoding="utf-8")
    with pytest.raises(CompileError):
        run_pipeline(tmp_path, until="compile", target="lonely", **QUICK)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"batch_gears": [1, 2]}, "target cpu has no gears"),
        ({"target": "ascend310p3", "batch_gears": [1]}, "invalid batch_gears"),
        ({"target": "ascend310p3", "batch_gears": [2, 2, 4]}, "invalid batch_gears"),
        ({"target": "ascend310p3", "batch_gears": [1, 2], "batch_size": 4}, "exceeds the largest gear"),
    ],
)
def test_gears_that_no_compiler_takes_are_refused_before_anything(run_pipeline, tmp_path, given, problem):
    with pytest.raises(ParameterError, match=problem):
        run_pipeline(tmp_path, until="data", **given)
