"""nnU-Net v2's own predictor with the weights of a v2 folder, without its trainer classes."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from helpers.networks.safe_pickle import read_torch_pickle


def predictor_of(folder: Path, mirroring: bool = True) -> nnUNetPredictor:
    """The predictor with every fold of the folder, on the CPU."""
    plans, dataset = (
        json.loads((folder / name).read_text(encoding="utf-8")) for name in ("plans.json", "dataset.json")
    )
    contents = [read_torch_pickle(path) for path in sorted(folder.glob("fold_*/checkpoint_final.pth"))]
    manager = PlansManager(plans)
    configuration = manager.get_configuration(contents[0]["init_args"]["configuration"])
    network = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        1,
        len(dataset["labels"]),
        deep_supervision=False,
    )
    predictor = nnUNetPredictor(
        device=torch.device("cpu"), perform_everything_on_device=False, use_mirroring=mirroring, allow_tqdm=False
    )
    weights = [content["network_weights"] for content in contents]
    mirrors = contents[0]["inference_allowed_mirroring_axes"]
    predictor.manual_initialization(network, manager, configuration, weights, dataset, "nnUNetTrainer", mirrors)
    return predictor
