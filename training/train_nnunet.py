"""Trains the small model folder of the `nnunet` demo: a 2-D network with a residual encoder, for two regions.

Run from the repository's root: `python training/train_nnunet.py --output FOLDER`. The folder has the form that
nnU-Net v2 writes: plans.json, dataset.json and fold_0/checkpoint_final.pth.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nnunet_loop import Batches, make_cases, train
from nnunet_plan import describe_plan, make_plan, measure_foreground, prepare
from options import read_options, training_parser

from helpers.data.nnunet.network_plan import network_of_v2
from helpers.data.nnunet.plan import Plan, plan_from_v2
from helpers.demo.abdomen import TASK, generate_case
from helpers.demo.decathlon import DemoCase
from helpers.recipes.nnunet_networks import build_planned

SPACING_MM = (2.8, 2.8)
WINDOW = (128, 128)
FEATURES = (8, 16, 32, 48, 48)
DEPTH = len(FEATURES) - 1
# What `make_plan` needs of a network; the architecture below is what is built.
SIZES = {"pool_op_kernel_sizes": [[2, 2]] * DEPTH, "base_num_features": FEATURES[0], "max_num_features": FEATURES[-1]}
ARCHITECTURE = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
    "arch_kwargs": {
        "n_stages": len(FEATURES),
        "features_per_stage": list(FEATURES),
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "kernel_sizes": [[3, 3]] * len(FEATURES),
        "strides": [[1, 1], *[[2, 2]] * DEPTH],
        "n_blocks_per_stage": [1, 2, 2, 2, 2],
        "n_conv_per_stage_decoder": [1] * DEPTH,
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}
# Overlapping regions: a lesion belongs to the liver. Each paints one label, the lesion over the liver.
DATASET = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "liver": [1, 2], "cancer": 2},
    "regions_class_order": [1, 2],
    "numTraining": 32,
    "file_ending": ".nii.gz",
}
TRAINER = "nnUNetTrainerNoMirroring"  # left and right distinguish liver and spleen
PLANS = "nnUNetResEncUNetMPlans"
TRAINING_SEEDS = range(1000, 1032)
HELD_OUT_SEEDS = range(9001, 9007)
_logger = logging.getLogger("cookbook")


def region_loss(outputs: Sequence[torch.Tensor], target: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy plus batch soft Dice of each region, over all outputs; weights halve with depth."""
    total, weights = torch.zeros(()), 0.0
    for index, logits in enumerate(outputs[:-1] or outputs):
        step = target.shape[-1] // logits.shape[-1]
        part = target[:, ::step, ::step]
        truth = torch.stack([part >= 1, part == 2], 1).float()
        probability, axes = logits.float().sigmoid(), (0, 2, 3)
        overlap = 2 * (probability * truth).sum(axes) + 20
        dice = overlap / (probability.sum(axes) + truth.sum(axes) + 20)
        entropy = functional.binary_cross_entropy_with_logits(logits.float(), truth)
        total = total + 0.5**index * (entropy + 1 - dice.mean())
        weights += 0.5**index
    return total / weights


def save_folder(folder: Path, plans: dict, state: dict[str, torch.Tensor], steps: int) -> None:
    """Writes the model folder; the checkpoint has the entries that nnU-Net reads."""
    (folder / "fold_0").mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plans, indent=1) + "\n", encoding="utf-8")
    (folder / "dataset.json").write_text(json.dumps(DATASET, indent=1) + "\n", encoding="utf-8")
    content = {
        "network_weights": with_repetitions(state),
        "optimizer_state": None,
        "grad_scaler_state": None,
        "logging": {},
        "_best_ema": None,
        "current_epoch": steps,
        "init_args": {"configuration": "2d", "fold": 0},
        "trainer_name": TRAINER,
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(content, folder / "fold_0" / "checkpoint_final.pth")


def with_repetitions(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict with the second names that nnU-Net's own network gives its tensors and loads strictly."""
    units = {
        key.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1."): tensor
        for key, tensor in state.items()
        if ".conv." in key or ".norm." in key
    }
    full = {**state, **units}
    return full | {f"decoder.{key}": tensor for key, tensor in full.items() if key.startswith("encoder.")}


def describe(cases: Sequence[DemoCase], batch: int) -> dict:
    """The content of plans.json."""
    plan = make_plan(TASK, WINDOW, SPACING_MM, SIZES, measure_foreground(cases))
    plans = describe_plan(plan, TASK, cases, "", batch)
    settings = plans["configurations"]["2d"] | {"architecture": ARCHITECTURE}
    return plans | {"dataset_name": "Dataset003_Liver", "plans_name": PLANS, "configurations": {"2d": settings}}


def run_training(steps: int, batch: int, learning_rate: float, seed: int, folder: Path) -> None:
    """Generates the cases, trains, and writes the folder at every pause."""
    torch.manual_seed(seed)
    cases = make_cases(generate_case, TRAINING_SEEDS)
    plans = describe(cases, batch)
    plan: Plan = plan_from_v2(plans, DATASET, "2d")
    batches = Batches([prepare(case, plan) for case in cases], plan, np.random.default_rng(seed), (0, 1))
    network = build_planned(network_of_v2(plans["configurations"]["2d"]), 1, 2)
    network.do_ds = True

    def pause(average: torch.nn.Module, step: int) -> None:
        state = {name: tensor.detach().float().contiguous() for name, tensor in average.state_dict().items()}
        save_folder(folder, plans, state, step)

    train(
        network,
        batches,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        on_pause=pause,
        loss_function=region_loss,
    )


def main() -> None:
    arguments = read_options(training_parser(__doc__, steps=1200, learning_rate=4e-3, batch=8))
    run_training(arguments.steps, arguments.batch, arguments.learning_rate, arguments.seed, arguments.output)
    _logger.info("score it with: cookbook run nnunet -p demo_seeds %s", ",".join(map(str, HELD_OUT_SEEDS)))


if __name__ == "__main__":
    main()
