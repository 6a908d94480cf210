"""A cascade runs as one command, and its masks are those of nnU-Net's two commands."""

from __future__ import annotations

import copy
import json
import shutil

import numpy as np
import pytest
import torch

from helpers import recipes, stages
from helpers.cli import main
from helpers.data.volume import read_volume
from helpers.errors import DataError, ParameterError
from tests.data.nnunet_plan_files import v2_dataset
from tests.recipes.nnunet_models import write_task
from tests.recipes.nnunet_pipeline import run_pipeline

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed")

from tests.recipes.cascade_folders import CASCADE, LOWRES, cascade_plans, network_of, write_cascade

QUICK = {"simplify_timeout_s": 0.01, "tile_step_size": 1.0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("cascade")
    return write_task(root, "unetpp3d_liver", count=2), write_cascade(root / "Dataset003_Liver")


def theirs(task, folder, prev=None) -> dict[str, np.ndarray]:
    """Masks of nnU-Net's predictor, with the previous stage's masks from a folder."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    configuration = folder.name.split("__")[-1]
    manager = PlansManager(copy.deepcopy(cascade_plans()))
    network = network_of(cascade_plans(), configuration)
    predictor = nnUNetPredictor(
        tile_step_size=1.0, device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False
    )
    weights = [network.state_dict()]
    settings = manager.get_configuration(configuration)
    predictor.manual_initialization(network, manager, settings, weights, v2_dataset(), "nnUNetTrainer", (0, 1, 2))
    found = {}
    for image in sorted((task / "imagesTr").glob("*.nii.gz")):
        case, before = image.name.removesuffix(".nii.gz"), []
        if prev is not None:
            before = [str(prev / f"{case}.nii.gz")]
        data, seg, properties = settings.preprocessor_class(verbose=False).run_case(
            [str(image)], before[0] if before else None, manager, settings, v2_dataset()
        )
        if before:
            onehot = np.stack([seg[0] == label for label in (1, 2)]).astype(np.float32)
            data = np.concatenate([data, onehot])
        from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu().float()
        found[case] = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits, manager, settings, manager.get_label_manager(v2_dataset()), properties
        )
    return found


def run_cascade(outputs, task, folder):
    """The finished run of a cascade; its first stage is run first."""
    given = {"checkpoint": str(folder), "data_root": str(task), **QUICK}
    options = {"profile": "cpu", "outputs": str(outputs), "interactive": False}
    recipe, run = stages.start_run("nnunet", given | options)
    first = stages.run_previous_stage(recipe, run)
    assert first.facts["masks"] == 2 and all(check.passed for check in first.checks)
    done = run_pipeline("nnunet", outputs, **given)
    assert done.folder == run.folder
    return done


@pytest.mark.slow
def test_the_masks_are_those_of_nnunet_s_two_stages(folders, tmp_path):
    task, folder = folders
    run = run_cascade(tmp_path, task, folder)
    lowres = run.params.prev_stage_predictions
    for stage, masks, before in (
        (LOWRES, lowres, None),
        (CASCADE, run.path("masks"), lowres),
    ):
        expected = theirs(task, folder.with_name(f"nnUNetTrainer__nnUNetPlans__{stage}"), before and run.path(before))
        for case, mask in expected.items():
            ours = read_volume(run.path(str(masks)) / f"{case}.nii.gz").array[0]
            assert len(np.unique(ours)) >= 2
            assert np.mean(ours != mask) < 1e-3, stage  # float16 sums in nnU-Net's accumulation
    with pytest.raises(DataError, match="prev_stage_predictions has no mask of case case_0"):
        run_pipeline(
            "nnunet",
            tmp_path / "other",
            checkpoint=str(folder),
            data_root=str(task),
            prev_stage_predictions=str(task),
            **QUICK,
        )


def test_a_second_stage_alone_is_refused_before_any_work(folders, tmp_path):
    alone = tmp_path / folders[1].name
    shutil.copytree(folders[1], alone)
    with pytest.raises(ParameterError, match=r"its first stage is not next to it.*3d_lowres"):
        recipes.load("nnunet").prepare_params(profile="cpu", checkpoint=str(alone))


def test_a_case_without_its_first_stage_s_mask_names_the_step(folders, tmp_path):
    task, folder = folders
    recipe, run = stages.start_run(
        "nnunet",
        {"profile": "cpu", "checkpoint": str(folder), "data_root": str(task), "outputs": str(tmp_path)},
    )
    files = recipe.cases.list_cases(task, run.params)[0]
    case = recipe.cases.read_case(files, run.params)
    with pytest.raises(Exception, match=r"no mask of the cascade's first stage.*run_previous_stage"):
        recipe.preparation.prepare(case, run.params)
    run.record.end("passed")


def test_the_first_stage_is_run_with_the_same_folds_and_without_limits(folders):
    task, folder = folders
    recipe = recipes.load("nnunet")
    params = recipe.prepare_params(
        profile="cpu", checkpoint=str(folder), data_root=str(task), fold=0, minimum_scores={"liver": 0.9}
    )
    first = recipe.model.previous_params(params)
    assert (first.fold, first.minimum_scores, first.prev_stage_predictions) == (0, {}, None)
    assert recipe.model.plan(first).configuration == LOWRES


@pytest.mark.slow
def test_a_bundle_of_a_cascade_holds_the_first_stage_s_masks(folders, tmp_path):
    task, folder = folders
    given = {"profile": "cpu", "checkpoint": folder, "data_root": task, "outputs": tmp_path / "outputs", **QUICK}
    options = [part for name, value in given.items() for part in ("-p", f"{name}", f"{value}")]
    assert main(["export", "nnunet", "--to", str(tmp_path / "bundle"), *options]) == 0
    assert main(["compile", str(tmp_path / "bundle")]) == 0
    assert main(["infer", str(tmp_path / "bundle")]) == 0
    options = [
        "-p",
        "outputs",
        str(tmp_path / "outputs"),
        "-p",
        "data_root",
        str(task),
        "-p",
        "checkpoint",
        str(folder),
    ]
    assert main(["score", str(tmp_path / "bundle"), *options]) == 0
    one = run_cascade(tmp_path / "one", task, folder)
    masks = sorted((tmp_path / "outputs" / "nnunet").glob("*/masks"))
    (second,) = [
        path
        for path in masks
        if json.loads((path.parent / "run.json").read_text("utf-8"))["params"]["checkpoint"] == str(folder)
    ]
    for case in ("case_0", "case_1"):
        made = second / f"{case}.nii.gz"
        expected = read_volume(one.path(f"masks/{case}.nii.gz")).array
        np.testing.assert_array_equal(read_volume(made).array, expected)
