"""The hand-over bundle: relative paths, a digest of every file, and four steps in four places."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from helpers import stages
from helpers.errors import CompileError, DataError, DeviceError, ParameterError
from helpers.inference import as_predictor
from helpers.interop.bundle import read_bundle
from helpers.interop.bundle_infer import answer_from_exchange, infer_bundle, open_bundle_exchange, write_exchange
from helpers.run import read_record
from helpers.stages.data import selected_cases
from helpers.stages.handover import BundleAnswers, compile_bundle, open_bundle_run, pack_bundle

SLOW = pytest.mark.slow
GIVEN = {"target": "ascend310p3", "cases": ["case_1", "case_3"], "batch_size": 3, "simplify_timeout_s": 0.001}


@pytest.fixture
def packed(run_pipeline, outputs, tmp_path):
    """A bundle of two tiny cases, and the run that it was packed in."""
    done = run_pipeline(outputs, until="surgery", **GIVEN)
    bundle = pack_bundle(done.recipe, done.run, tmp_path / "first" / "bundle")
    return bundle, done


@pytest.fixture
def cann(monkeypatch, cann_doubles):
    """This process as CANN's set_env.sh leaves a shell."""
    for name, value in cann_doubles.environment().items():
        monkeypatch.setenv(name, value)
    return cann_doubles


def moved(bundle, place: Path):
    """The bundle in another place; nothing stays in the old one."""
    place.parent.mkdir(parents=True)
    shutil.move(bundle.folder, place)
    return read_bundle(place)


def expected_masks(done, folder: Path) -> dict[str, bytes]:
    """Masks of the graph in this process, without a bundle or a device between."""
    session = onnxruntime.InferenceSession(str(done.run.path("model.onnx")), providers=["CPUExecutionProvider"])
    masks = {}
    for files in selected_cases(done.recipe, done.run):
        case = done.recipe.cases.read_case(files, done.run.params)
        predictor = as_predictor(lambda batch: session.run(None, {"image": batch})[0])
        classes = done.recipe.preparation.segment(case, predictor, done.run.params)
        done.recipe.cases.write_mask(classes, case, folder / f"{files.id}.nii.gz")
        masks[files.id] = (folder / f"{files.id}.nii.gz").read_bytes()
    return masks


def masks_of(bundle, outputs: Path) -> dict[str, bytes]:
    """The last step: masks and scores from a bundle's outputs, in a new run."""
    recipe, run = open_bundle_run(bundle, {"outputs": str(outputs)})
    stages.prepare_data(recipe, run)
    stages.infer_cases(recipe, run, BundleAnswers(bundle, recipe, run))
    assert stages.score_cases(recipe, run).values["mean"]["cube"] > 0.9
    run.finish()
    return {case.id: run.path(f"masks/{case.id}.nii.gz").read_bytes() for case in bundle.cases}


def test_four_machines_one_after_the_other(packed, outputs, cann, tmp_path):
    bundle, done = packed
    expected = expected_masks(done, tmp_path)
    bundle, _ = compile_bundle(moved(bundle, tmp_path / "second" / "b"), {"outputs": str(outputs)})
    bundle = infer_bundle(moved(bundle, tmp_path / "third" / "c"), python=sys.executable)
    cann.assert_clean()
    assert masks_of(moved(bundle, tmp_path / "fourth" / "d"), tmp_path / "o4") == expected
    for path in (tmp_path / "fourth" / "d").rglob("*.json"):
        assert str(tmp_path) not in path.read_text(encoding="utf-8") and not re.search(
            r'": "/', path.read_text(encoding="utf-8")
        )


@pytest.mark.parametrize("tool", ["msame", *(pytest.param(name, marks=SLOW) for name in ("benchmark", "ais_bench"))])
def test_the_third_machine_has_only_a_tool(tool, packed, outputs, cann, tmp_path):
    bundle, done = packed
    expected = expected_masks(done, tmp_path)
    bundle, _ = compile_bundle(bundle, {"outputs": str(outputs)})
    bundle = moved(bundle, tmp_path / "third" / "c")
    exchange, need = open_bundle_exchange(bundle, tool)
    write_exchange(bundle, exchange, need)
    for line in exchange.shown_commands("../../compiled/model.om"):
        cann.run(line, exchange.folder)
    cann.assert_clean()
    bundle = answer_from_exchange(bundle, open_bundle_exchange(bundle, tool)[0])
    assert masks_of(bundle, tmp_path / "o4") == expected


def test_a_case_with_an_output_is_skipped_and_a_new_model_is_run_again(packed, outputs, tmp_path):
    bundle, _ = packed
    bundle, _ = compile_bundle(bundle, {"target": "onnxruntime", "outputs": str(outputs)})
    bundle = infer_bundle(bundle)
    times = {case.answer: bundle.path(case.answer).stat().st_mtime_ns for case in bundle.cases}
    bundle.path(bundle.cases[0].answer).unlink()
    bundle = infer_bundle(read_bundle(bundle.folder))
    assert bundle.path(bundle.cases[1].answer).stat().st_mtime_ns == times[bundle.cases[1].answer]
    again, _ = compile_bundle(bundle, {"target": "cpu", "outputs": str(outputs)})
    assert again.notes == {} and again.model.target["name"] == "cpu"
    infer_bundle(again)
    assert bundle.path(bundle.cases[1].answer).stat().st_mtime_ns != times[bundle.cases[1].answer]


class TestRefused:
    def test_a_path_that_leaves_the_bundle(self, packed, outputs):
        for name in ("/etc/hostname", "../model.onnx", "cases/../../x"):
            with pytest.raises(DataError, match="relative paths"):
                packed[0].path(name)

    def test_a_truncated_file(self, packed, outputs, tmp_path):
        bundle, _ = packed
        path = bundle.path(bundle.cases[1].image)
        path.write_bytes(path.read_bytes()[:-1])
        bundle, _ = compile_bundle(bundle, {"target": "onnxruntime", "outputs": str(outputs)})
        with pytest.raises(DataError, match=r"cases/0001.npy was changed or truncated"):
            infer_bundle(bundle)

    def test_a_folder_that_is_not_a_bundle(self, tmp_path):
        with pytest.raises(ParameterError, match=r"received a folder without bundle\.json"):
            read_bundle(tmp_path)

    def test_a_bundle_without_a_compiled_model(self, packed, outputs):
        with pytest.raises(DeviceError, match="cookbook compile"):
            infer_bundle(packed[0])

    def test_without_the_compiler_its_command_is_in_the_error(self, packed, outputs, tmp_path):
        with pytest.raises(CompileError, match="atc --framework=5"):
            compile_bundle(packed[0], {"outputs": str(outputs)})
        assert read_bundle(packed[0].folder).model is None

    def test_a_target_that_needs_the_network(self, packed, outputs, tmp_path):
        with pytest.raises(CompileError, match="on the machine that has the checkpoint and the cases"):
            compile_bundle(packed[0], {"target": "torch", "outputs": str(outputs)})

    def test_a_mistyped_parameter(self, packed, outputs, tmp_path):
        with pytest.raises(ParameterError, match="batch_size"):
            compile_bundle(packed[0], {"bacth_size": 2, "outputs": str(outputs)})

    def test_outputs_of_another_case_of_the_same_name(self, packed, outputs, tmp_path, tiny):
        bundle, _ = packed
        bundle, _ = compile_bundle(bundle, {"target": "onnxruntime", "outputs": str(outputs)})
        bundle = infer_bundle(bundle)
        other = tmp_path / "mine"
        other.mkdir()
        tiny.module.RECIPE.cases.write_demo_cases(other, [7, 8])
        for seed, name in ((7, 1), (8, 3)):
            for role in ("image", "truth"):
                (other / f"case_{seed}_{role}.nii.gz").rename(other / f"case_{name}_{role}.nii.gz")
        given = {"outputs": str(tmp_path / "o4"), "data_root": str(other)}
        recipe, run = open_bundle_run(bundle, given)
        with pytest.raises(DataError, match="the files of case_1, or the plan, differ"):
            stages.infer_cases(recipe, run, BundleAnswers(bundle, recipe, run))

    def test_a_case_without_an_output(self, packed, outputs, tmp_path):
        recipe, run = open_bundle_run(packed[0], {"outputs": str(tmp_path / "o4")})
        stages.prepare_data(recipe, run)
        with pytest.raises(DataError, match="the bundle has no output for case_1"):
            stages.infer_cases(recipe, run, BundleAnswers(packed[0], recipe, run))


def test_a_bundle_of_an_earlier_version_has_the_old_names_of_parameters(packed, outputs, tmp_path):
    bundle = replace(packed[0], params={**packed[0].params, "step": 0.25, "keep_precise": ["head"]})
    bundle, result = compile_bundle(bundle, {"target": "onnxruntime", "outputs": str(tmp_path)})
    assert read_record(Path(result.folder))["params"]["fp32_layers"] == ["head"]
    _, run = open_bundle_run(bundle, {"target": "cpu", "outputs": str(tmp_path), "tile_step_size": 0.75})
    run.record.end("passed")
    assert run.params.tile_step_size == 0.75 and run.params.fp32_layers == ["head"]


def test_arrays_hold_no_pickles(packed, outputs):
    bundle, _ = packed
    path = bundle.path(bundle.cases[0].image)
    np.save(path, np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        bundle.with_files(bundle.cases[0].image).load(bundle.cases[0].image)
