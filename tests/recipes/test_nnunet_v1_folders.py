"""Folders of nnU-Net v1 whose trainers change what no file says: regions, folds of regions, no mirroring."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import recipes
from helpers.data.nnunet.plan import ChannelNorm
from helpers.data.nnunet.preprocess import prepare_case
from helpers.data.nnunet.readers import sight_of_case
from helpers.inference import as_predictor
from helpers.networks.nnunet import GenericUNet
from tests.data.nnunet_folders import write_v1
from tests.data.nnunet_plan_files import v1_plans_of
from tests.recipes.nnunet_models import tiny, write_task

SPACING_MM = (2.5, 1.0, 1.3)


def brats_plan():
    """A plan of four labels whose window holds the whole case at its own spacing."""
    plan = tiny("heart_3d").plan
    names = ("background", "1", "2", "3")
    channels = (ChannelNorm("zscore"),)
    return replace(plan, class_names=names, channels=channels, patch_size=(8, 20, 28), spacing_mm=SPACING_MM)


def networks_of(count, outputs):
    """Networks of random weights whose outputs are on both sides of zero."""
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        network = GenericUNet(1, outputs, ((2, 2, 2),) * 2, base_num_features=4, max_num_features=12, do_ds=False)
        with torch.no_grad():
            for layer in network.seg_outputs:
                layer.weight[...] = 4 * (layer.weight - layer.weight.mean(1, keepdim=True))
        made.append(network.eval())
    return made


def opened(root, networks, trainer, **given):
    """The recipe, its parameters, and the only case."""
    folder = write_v1(root, [net.state_dict() for net in networks], plans=v1_plans_of(brats_plan()), trainer=trainer)
    recipe = recipes.load("nnunet")
    task = write_task(root, "nnunet_heart", spacing_mm=SPACING_MM)
    params = recipe.prepare_params(profile="cpu", checkpoint=str(folder), data_root=str(task), **given)
    case = recipe.cases.read_case(recipe.cases.list_cases(task, params)[0], params)
    return recipe, params, case


def segment(recipe, params, case):
    network = recipe.model.load_for_export(params)

    def infer(batch):
        with torch.inference_mode():
            return network(torch.from_numpy(batch)).numpy()

    return recipe.preparation.segment(case, as_predictor(infer), params)


def by_hand(networks, case, plan, mirrors):
    """v1's own steps: the sigmoid of each network and mirror, their mean, then regions painted in order."""
    prepared = prepare_case(case.image, sight_of_case(case), plan)
    sizes = zip(plan.patch_size, prepared.image.shape[1:], strict=True)
    pads = [((side - size) // 2, side - size - (side - size) // 2) for side, size in sizes]
    image = torch.from_numpy(np.pad(prepared.image, [(0, 0), *pads]))[None]
    axes = [[2 + axis for axis in chosen] for n in range(4) for chosen in itertools.combinations(mirrors, n)]
    with torch.inference_mode():
        passes = [torch.flip(torch.sigmoid(net(torch.flip(image, a))), a) for net in networks for a in axes]
    chances = torch.stack(passes).mean(0)[0].numpy()
    inner = tuple(
        slice(before, before + size) for (before, _), size in zip(pads, prepared.image.shape[1:], strict=True)
    )
    chances = chances[(slice(None), *inner)]
    painted = np.zeros(prepared.original_shape, np.uint8)
    sure = np.ones(prepared.original_shape, bool)
    for region, label in zip(chances, (1, 2, 3), strict=True):
        painted[prepared.box][region > 0.5] = label
        sure[prepared.box] &= np.abs(region - 0.5) > 1e-5
    return painted, sure


@pytest.mark.parametrize(("folds", "mirrors"), [(1, True), (2, True), (1, False)])
def test_regions_of_brats_are_painted_in_order_after_the_mean_of_sigmoids(folds, mirrors, tmp_path):
    trainer = "nnUNetTrainerV2BraTSRegions_DA3" + ("" if mirrors else "_noMirroring")
    networks = networks_of(folds, 3)
    recipe, params, case = opened(tmp_path, networks, trainer, **({"folds": "all"} if folds > 1 else {}))
    expected, sure = by_hand(networks, case, recipe.model.plan(params), (0, 1, 2) if mirrors else ())
    found = segment(recipe, params, case)
    np.testing.assert_array_equal(found[sure], expected[sure])
    assert sure.mean() > 0.99 and len(np.unique(expected)) > 2
    scored = {"whole tumor": (1, 2, 3), "tumor core": (2, 3), "enhancing tumor": (3,)}
    assert recipe.scoring.labels(params).scored == scored


def test_a_trainer_without_mirroring_is_not_mirrored(tmp_path):
    networks = networks_of(1, 4)
    recipe, params, case = opened(tmp_path, networks, "nnUNetTrainerV2_noMirroring")
    plan = recipe.preparation.prepare_job(case, params).plan
    assert plan is not None and plan.mirror_axes == ()
    given = params.model_copy(update={"mirror_axes": [0, 1, 2]})
    assert not np.array_equal(segment(recipe, params, case), segment(recipe, given, case))
