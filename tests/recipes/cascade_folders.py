"""Both stages of a cascade as model folders of v2, with upstream's own networks of random weights."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from tests.data.nnunet_folders import write_v2
from tests.data.nnunet_plan_files import v2_dataset
from tests.recipes.nnunet_models import tiny, v2_plans_of

LOWRES, CASCADE = "3d_lowres", "3d_cascade_fullres"


def cascade_plans() -> dict:
    """Plans of three configurations; the first stage has twice the spacing."""
    plans = v2_plans_of(tiny("liver_plain").plan)
    full = plans["configurations"]["3d_fullres"]
    low = copy.deepcopy(full) | {"spacing": [2 * value for value in full["spacing"]], "next_stage": CASCADE}
    second = {"inherits_from": "3d_fullres", "previous_stage": LOWRES}
    return plans | {"configurations": {"3d_fullres": full, LOWRES: low, CASCADE: second}}


def network_of(plans: dict, configuration: str) -> torch.nn.Module:
    """Upstream's network of a configuration, with weights that favour no class."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    settings = PlansManager(copy.deepcopy(plans)).get_configuration(configuration)
    torch.manual_seed(0 if configuration == LOWRES else 1)
    network = get_network_from_plans(
        settings.network_arch_class_name,
        settings.network_arch_init_kwargs,
        settings.network_arch_init_kwargs_req_import,
        1 + 2 * (configuration == CASCADE),
        3,
        deep_supervision=False,
    ).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "seg_layers" in name and weight.ndim > 1:
                weight.copy_(4 * (weight - weight.mean(1, keepdim=True)))
    return network


def write_cascade(root: Path, stages: tuple[str, ...] = (LOWRES, CASCADE)) -> Path:
    """The data set's folder with the model folders of the stages; returns that of the second stage."""
    plans = cascade_plans()
    for stage in stages:
        state = network_of(plans, stage).state_dict()
        ordered = {stage: plans["configurations"][stage], **plans["configurations"]}
        write_v2(root, state, plans=plans | {"configurations": ordered}, dataset=v2_dataset())
    return root / f"nnUNetTrainer__nnUNetPlans__{CASCADE}"
