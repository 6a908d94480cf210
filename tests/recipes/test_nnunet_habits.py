"""Folds, trainers, checkpoints, parts and channels are chosen as nnU-Net chooses them; a run says what it opened."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from helpers import recipes
from helpers.data.nnunet.cases import numbered_folders
from helpers.data.nnunet.v1_trainers import layers_of_trainer
from helpers.data.volume import read_volume
from helpers.errors import CheckpointError, DataError, ParameterError
from helpers.inference import as_predictor
from helpers.networks.nnunet import GenericUNet
from helpers.recipes.nnunet_networks import build_from_weights
from tests.data.nnunet_folders import write_v1
from tests.data.nnunet_plan_files import v1_plans_of
from tests.recipes.nnunet_models import tiny, write_task


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("nnUNet_raw", "nnUNet_raw_data_base", "nnUNet_results", "RESULTS_FOLDER"):
        monkeypatch.delenv(name, raising=False)


def opened(folder, **given):
    recipe = recipes.load("nnunet")
    params = recipe.prepare_params(profile="cpu", checkpoint=str(folder), **given)
    return recipe.model.folder(params), recipe.model.describe(params)


def test_every_fold_is_used_unless_told_otherwise_and_the_run_says_which(tmp_path):
    folder = tiny("liver_plain", folds=3).write(tmp_path, 2)
    model, said = opened(folder)
    assert model.folds == ("0", "1", "2") and said["folds"] == "0, 1, 2 (checkpoint_final.pth)"
    model, said = opened(folder, fold=1)
    assert model.folds == ("1",) and said["folds"] == "1 (checkpoint_final.pth); not used: 0, 2"
    for given, wanted in ((1, ("1",)), ("1", ("1",)), ("0,2", ("0", "2")), ("[0, 2]", ("0", "2"))):
        assert opened(folder, folds=given)[0].folds == wanted  # as `-p folds` gives them
    (folder / "fold_2" / "checkpoint_final.pth").unlink()  # its training has not ended
    model, said = opened(folder)
    assert said["folds"] == "0, 1 (checkpoint_final.pth); not used: 2"
    with pytest.raises(DataError, match=r"fold_2 does not contain a checkpoint.*expected checkpoint_final\.pth"):
        opened(folder, fold=2)


def test_a_checkpoint_is_chosen_by_its_name(tmp_path):
    folder = tiny("liver_plain", folds=2).write(tmp_path, 2)
    shutil.copy(folder / "fold_1" / "checkpoint_final.pth", folder / "fold_1" / "checkpoint_best.pth")
    model, said = opened(folder, checkpoint_name="checkpoint_best.pth")
    assert said["folds"] == "1 (checkpoint_best.pth); not used: 0"
    assert model.checkpoints[0].name == "checkpoint_best.pth"
    with pytest.raises(DataError, match=r"expected checkpoint_x\.pth"):
        opened(folder, checkpoint_name="checkpoint_x.pth")


def test_one_of_several_models_is_nnunet_s_default_or_asked_for(tmp_path):
    first = tiny("liver_plain").write(tmp_path / "Dataset003_Liver", 2)
    for trainer in ("nnUNetTrainerDA5", "nnUNetTrainer_1epoch"):
        shutil.copytree(first, first.with_name(f"{trainer}__nnUNetPlans__3d_fullres"))
    assert opened(first.parent)[0].root == first
    chosen = opened(first.parent, trainer="nnUNetTrainerDA5")[0].root
    assert chosen.name == "nnUNetTrainerDA5__nnUNetPlans__3d_fullres"
    with pytest.raises(DataError, match="no such model: received configuration 2d, expected one of nnUNetTrainerDA5"):
        opened(first.parent, configuration="2d")
    with pytest.raises(ParameterError, match="of another configuration: received 2d, expected 3d_fullres"):
        opened(first, configuration="2d")
    shutil.rmtree(first)
    with pytest.raises(DataError, match="several models, and none of them is nnU-Net's default"):
        opened(chosen.parent)


def test_only_a_number_or_a_name_of_a_data_set_is_looked_up(tmp_path, monkeypatch):
    folder = tiny("liver_plain").write(tmp_path / "results" / "Dataset003_Liver", 2)
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    for name in (3, "003", "Dataset003_Liver", "Task003_Liver"):
        assert opened(name)[0].root == folder
    for name in ("my_unet_v3.pth", "3d.pth", "fold3", "Dataset004_Liver"):
        assert numbered_folders(tmp_path / "results", name) == []
        with pytest.raises(ParameterError, match=f"no file or folder {name}"):
            opened(name)


@pytest.mark.parametrize("trainer", ["nnUNetTrainerV2_noMirroring", "nnUNetTrainerV2_noDataAugmentation"])
def test_trainers_of_v1_without_mirroring_are_not_mirrored(trainer, tmp_path):
    model = tiny("liver_plain")
    folder = write_v1(tmp_path, model.states, plans=v1_plans_of(model.plan), trainer=trainer)
    found, said = opened(folder)
    assert found.mirror_axes == () and said["mirrored axes"] == "none: trained without mirroring"
    _, said = opened(folder, mirror_axes=[0])
    assert said["mirrored axes"] == "0, by mirror_axes"


def test_a_checkpoint_of_v2_without_mirror_axes_is_not_mirrored_as_in_nnunet(tmp_path):
    folder = tiny("liver_plain").write(tmp_path, 2)
    path = folder / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    del content["inference_allowed_mirroring_axes"]
    torch.save(content, path)
    assert opened(folder)[0].mirror_axes == ()


def test_regions_of_v1_are_those_of_its_trainer(tmp_path):
    model = tiny("liver_plain")
    plan = replace(model.plan, class_names=("background", "1", "2", "3"))
    torch.manual_seed(0)
    state = GenericUNet(1, 3, plan.pools, base_num_features=4, max_num_features=12).state_dict()
    plans, trainer = v1_plans_of(plan), "nnUNetTrainerV2BraTSRegions_DA3"
    folder = write_v1(tmp_path, [state], plans=plans, trainer=trainer)
    recipe = recipes.load("nnunet")
    params = recipe.prepare_params(profile="cpu", checkpoint=str(folder))
    assert recipe.score_names(params) == ("whole tumor", "tumor core", "enhancing tumor")
    assert recipe.model.plan(params).activation == "sigmoid" and recipe.model.region_threshold(params) == 0.5
    recipe.model.load(params)
    other = write_v1(tmp_path / "other", [state], plans=plans, trainer="nnUNetTrainerV2_MyRegions")
    with pytest.raises(CheckpointError, match="received 1 input channels and 3 outputs, expected 1 and 4"):
        recipe.model.load(recipe.prepare_params(profile="cpu", checkpoint=str(other)))


def test_a_trainer_of_v1_with_another_network_is_refused_by_name(tmp_path):
    model = tiny("liver_plain")
    folder = write_v1(tmp_path, model.states, plans=v1_plans_of(model.plan), trainer="nnUNetTrainerV2_ResencUNet")
    with pytest.raises(DataError, match="network is not supported: received nnUNetTrainerV2_ResencUNet"):
        opened(folder)


@pytest.mark.parametrize(
    ("trainer", "layer", "first"),
    [
        ("nnUNetTrainerV2_ReLU", torch.nn.ReLU, torch.nn.InstanceNorm3d),
        ("nnUNetTrainerV2_Mish", torch.nn.Mish, torch.nn.InstanceNorm3d),
        ("nnUNetTrainerV2_BN", torch.nn.LeakyReLU, torch.nn.BatchNorm3d),
        ("nnUNetTrainerV2_NoNormalization_lr1en3", torch.nn.LeakyReLU, torch.nn.Identity),
    ],
)
def test_layers_of_v1_are_those_of_its_trainer(trainer, layer, first):
    state = GenericUNet(1, 2, [(2, 2, 2)] * 2, base_num_features=2).state_dict()
    unit = build_from_weights(state, layers_of_trainer(trainer)).conv_blocks_context[0].blocks[0]
    assert isinstance(unit.lrelu, layer) and isinstance(unit.instnorm, first)


def test_parts_divide_the_cases_as_nnunet_does(tmp_path):
    folder = tiny("liver_plain").write(tmp_path / "model", 2)
    task = write_task(tmp_path, "unetpp3d_liver", count=5)
    recipe = recipes.load("nnunet")
    found = []
    for part in (0, 1):
        params = recipe.prepare_params(
            profile="cpu", checkpoint=str(folder), data_root=str(task), num_parts=2, part_id=part
        )
        found.append([case.id for case in recipe.cases.list_cases(task, params)])
    assert found == [["case_0", "case_2", "case_4"], ["case_1", "case_3"]]
    with pytest.raises(ParameterError, match="part_id 2 is not below num_parts 2"):
        recipe.prepare_params(profile="cpu", num_parts=2, part_id=2)
    with pytest.raises(ParameterError, match="num_parts splits all cases"):
        recipe.prepare_params(profile="cpu", num_parts=2, cases=["case_0"])


def test_channels_are_checked_by_number_and_by_name(tmp_path):
    folder = tiny("liver_plain").write(tmp_path / "model", 2)
    task = write_task(tmp_path, "unetpp3d_liver", suffix="_0000")
    recipe = recipes.load("nnunet")
    params = recipe.prepare_params(profile="cpu", checkpoint=str(folder), data_root=str(task))
    (task / "dataset.json").write_text(json.dumps({"channel_names": {"0": "ct"}}), encoding="utf-8")
    recipe.cases.list_cases(task, params)
    (task / "dataset.json").write_text(json.dumps({"channel_names": {"0": "T1"}}), encoding="utf-8")
    with pytest.raises(DataError, match="names its channels otherwise than the model: received T1, expected CT"):
        recipe.cases.list_cases(task, params)
    (task / "dataset.json").unlink()
    image = next((task / "imagesTr").iterdir())
    shutil.copy(image, image.with_name(image.name.replace("_0000", "_0001")))
    with pytest.raises(DataError, match="has more channels than the model takes"):
        recipe.cases.list_cases(task, params)


def test_a_plan_of_another_network_than_the_checkpoint_s_is_refused_before_any_work(tmp_path):
    folder = tiny("liver_plain").write(tmp_path, 2)
    text = (folder / "plans.json").read_text(encoding="utf-8")
    text = text.replace("PlainConvUNet", "ResidualEncoderUNet").replace(
        '"n_conv_per_stage":', '"n_blocks_per_stage":'
    )
    (folder / "plans.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="weights of a PlainConvUNet, expected weights of a ResidualEncoderUNet"):
        opened(folder)


def test_nnunetv2_opens_the_demo_folder_and_its_network_has_the_same_weights(monkeypatch):
    # nnU-Net finds a trainer by importing all of them; those of transformers need packages that are not installed.
    for name in ("primus", "dinov2_eva"):
        module = f"dynamic_network_architectures.architectures.{name}"
        monkeypatch.setitem(sys.modules, module, MagicMock(name=module))
    pytest.importorskip("batchgeneratorsv2", reason="nnU-Net's trainers import it")
    predictors = pytest.importorskip("nnunetv2.inference.predict_from_raw_data")
    recipe = recipes.load("nnunet")
    params = recipe.prepare_params()
    predictor = predictors.nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False)
    predictor.initialize_from_trained_model_folder(str(recipe.model.folder(params).root), None)
    x = torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        theirs, ours = predictor.network.eval()(x), recipe.model.load(params).network(x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_saved_probabilities_are_what_nnunetv2_ensembles(tmp_path):
    ensemble = pytest.importorskip("nnunetv2.ensembling.ensemble")
    handler = pytest.importorskip("nnunetv2.utilities.plans_handling.plans_handler")
    folder = tiny("liver_plain").write(tmp_path / "model", 2)
    task = write_task(tmp_path, "unetpp3d_liver")
    recipe = recipes.load("nnunet")
    params = recipe.prepare_params(
        profile="cpu", checkpoint=str(folder), data_root=str(task), save_softmax=True, tile_step_size=1.0
    )
    network = recipe.model.load(params)
    case = recipe.cases.read_case(recipe.cases.list_cases(task, params)[0], params)
    masks = tmp_path / "masks"
    masks.mkdir()
    predictor = as_predictor(network.output)
    ours = recipe.preparation.segment_and_save(case, predictor, params, masks / "case_0.nii.gz")
    manager = handler.PlansManager(str(masks / "plans.json"))
    labels = manager.get_label_manager(json.loads((masks / "dataset.json").read_text(encoding="utf-8")))
    reader = manager.image_reader_writer_class()
    ensemble.merge_files([str(masks / "case_0.npz")] * 2, str(tmp_path / "both"), ".nii.gz", reader, labels)
    np.testing.assert_array_equal(read_volume(tmp_path / "both.nii.gz").array[0], ours)
