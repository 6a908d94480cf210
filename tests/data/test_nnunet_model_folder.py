"""Model folders of both versions open by their plan, folds and checkpoints, and load into one network."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import torch

from helpers.data.nnunet.model_folder import is_model_folder, open_model_folder, results_folder
from helpers.errors import CheckpointError, DataError
from helpers.networks.checkpoint import load_checkpoint
from helpers.networks.nnunet import GenericUNet, rename_v2_keys
from helpers.networks.unetpp import GenericUNetPlusPlus
from tests.data.nnunet_folders import v2_names, write_v1, write_v2
from tests.data.nnunet_plan_files import v1_plans


def v1_state() -> dict:
    return GenericUNet(1, 3, [(2, 2, 2)] * 2, base_num_features=4).state_dict()


def v2_state() -> dict:
    torch.manual_seed(0)
    kernels = [(1, 3, 3), (3, 3, 3), (3, 3, 3)]
    options = {"conv_kernel_sizes": kernels, "decoder_kernel_sizes": kernels[-2::-1], "decoder_bias": True}
    ours = GenericUNet(1, 3, [(1, 2, 2), (2, 2, 2)], base_num_features=4, **options).state_dict()
    return v2_names({key: torch.full_like(value, 0.01).addcmul_(value, value) for key, value in ours.items()})


def test_v1_opens_with_every_fold_and_loads_strictly(tmp_path):
    folder = open_model_folder(write_v1(tmp_path, v1_state(), folds=2))
    assert (folder.plan.version, folder.folds, folder.trainer) == (1, ("0", "1"), "nnUNetTrainerV2")
    assert folder.mirror_axes == (0, 1, 2)
    network = GenericUNet(**folder.plan.network_arguments())
    assert load_checkpoint(network, folder.checkpoints[1], rename_v2_keys).n_tensors == len(v1_state())


def test_v2_opens_and_loads_strictly_under_v1_names(tmp_path):
    folder = open_model_folder(write_v2(tmp_path, v2_state(), mirrors=None))
    assert (folder.plan.version, folder.folds, folder.trainer) == (2, ("0",), "nnUNetTrainer")
    assert folder.mirror_axes == ()  # a trainer without mirroring says so in its checkpoint
    network = GenericUNet(**folder.plan.network_arguments())
    assert load_checkpoint(network, folder.checkpoints[0], rename_v2_keys).n_tensors == len(
        rename_v2_keys(v2_state())
    )


def test_the_folder_of_a_fold_selects_that_fold(tmp_path):
    root = write_v1(tmp_path, v1_state(), folds=3)
    assert is_model_folder(root / "fold_2")
    assert open_model_folder(root / "fold_2").folds == ("2",)
    assert open_model_folder(root, [0, 2]).folds == ("0", "2")


def test_a_unetpp_model_is_recognised_by_its_trainer(tmp_path):
    state = GenericUNetPlusPlus(1, 3, [(2, 2, 2)] * 2, base_num_features=4).state_dict()
    root = write_v1(tmp_path, state)
    (root / "fold_0" / "model_final_checkpoint.model.pkl").unlink()
    folder = open_model_folder(root.rename(root.with_name("nnUNetPlusPlusTrainerV2__nnUNetPlansv2.1")))
    assert folder.trainer == "nnUNetPlusPlusTrainerV2"
    network = GenericUNetPlusPlus(**folder.plan.network_arguments())
    assert load_checkpoint(network, folder.checkpoints[0], rename_v2_keys).n_tensors == len(state)


def test_the_stage_stored_with_the_checkpoint_is_used(tmp_path):
    plans = v1_plans(stages=2)
    folder = open_model_folder(write_v1(tmp_path, v1_state(), plans=plans, stage=0))
    assert folder.plan.spacing_mm == (3.0, 1.6, 1.6)


def test_a_fold_of_all_cases_is_used_if_it_is_the_only_one(tmp_path):
    root = write_v2(tmp_path, v2_state(), folds=2)
    shutil.copytree(root / "fold_0", root / "fold_all")
    assert open_model_folder(root).folds == ("0", "1")
    shutil.rmtree(root / "fold_0")
    shutil.rmtree(root / "fold_1")
    assert open_model_folder(root).folds == ("all",)


def test_postprocessing_next_to_the_plan_is_read(tmp_path):
    root = write_v1(tmp_path, v1_state())
    (root / "postprocessing.json").write_text(json.dumps({"for_which_classes": [[1, 2], 1]}), encoding="utf-8")
    assert [rule.classes for rule in open_model_folder(root).postprocessing] == [(1, 2), (1,)]


def test_the_postprocessing_pickle_of_v2_is_read(tmp_path):
    theirs = pytest.importorskip("nnunetv2.postprocessing.remove_connected_components")
    root = write_v2(tmp_path, v2_names(v1_state()))
    steps = ([theirs.remove_all_but_largest_component_from_segmentation], [{"labels_or_regions": [1, 2]}])
    (root / "postprocessing.pkl").write_bytes(pickle.dumps(steps))
    assert [(rule.classes, rule.version) for rule in open_model_folder(root).postprocessing] == [((1, 2), 2)]


def test_missing_parts_are_named(tmp_path):
    assert not is_model_folder(tmp_path)
    with pytest.raises(DataError, match="not an nnU-Net model folder"):
        open_model_folder(tmp_path)
    root = write_v1(tmp_path, v1_state())
    with pytest.raises(DataError, match=r"lacks folds.*\['0'\].*\['3'\]"):
        open_model_folder(root, [3])
    (root / "fold_0" / "model_final_checkpoint.model").unlink()
    with pytest.raises(DataError, match=r"model_final_checkpoint\.model"):
        open_model_folder(root)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


@pytest.mark.parametrize("name", ["plans.pkl", "fold_0/model_final_checkpoint.model.pkl"])
def test_a_pickle_that_calls_something_is_refused(tmp_path, name):
    root = write_v1(tmp_path, v1_state())
    (root / name).write_bytes(pickle.dumps({"plans": Trap()}))
    with pytest.raises(CheckpointError, match="rejected"):
        open_model_folder(root)


def test_results_are_found_by_nnunet_variables(tmp_path):
    v2 = write_v2(tmp_path / "v2" / "Dataset003_Liver", v2_state())
    v1 = write_v1(tmp_path / "v1" / "nnUNet" / "3d_fullres" / "Task003_Liver", v1_state())
    both = {"nnUNet_results": str(tmp_path / "v2"), "RESULTS_FOLDER": str(tmp_path / "v1")}
    assert results_folder("3", "3d_fullres", both) == v2
    assert results_folder("Task003_Liver", "3d_fullres", {"RESULTS_FOLDER": both["RESULTS_FOLDER"]}) == v1
    assert results_folder("4", "3d_fullres", both) is None
    assert results_folder("3", "3d_fullres", {}) is None


@torch.no_grad()
def test_v1_and_v2_files_of_the_same_weights_give_the_same_scores(tmp_path):
    v2 = open_model_folder(write_v2(tmp_path / "v2", v2_state()))
    v1 = open_model_folder(write_v1(tmp_path / "v1", rename_v2_keys(v2_state())))
    x = torch.arange(8 * 12 * 16.0).reshape(1, 1, 8, 12, 16).sin()
    scores = []
    for folder in (v1, v2):
        network = GenericUNet(**v2.plan.network_arguments(), do_ds=False).eval()
        load_checkpoint(network, folder.checkpoints[0], rename_v2_keys)
        scores.append(network(x))
    torch.testing.assert_close(*scores, rtol=0, atol=0)
    assert scores[0].std() > 0
