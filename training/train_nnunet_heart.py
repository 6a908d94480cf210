"""Trains the small 2-D nnU-Net of the `nnunet_heart` demo on generated hearts and scores it on unseen ones.

Run from the repository's root: `python training/train_nnunet_heart.py --output FILE.safetensors`; the plan is
written next to it as FILE_plans.json.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nnunet_loop import Batches, make_cases, save_weights, train
from nnunet_plan import describe_plan, make_plan, prepare
from nnunet_scores import evaluate
from options import read_options, training_parser

from helpers.demo.heart import IN_PLANE_MM, TASK, generate_case
from helpers.networks.nnunet import GenericUNet

NETWORK = {
    "input_channels": 1,
    "num_classes": 2,
    "pool_op_kernel_sizes": [[2, 2]] * 5,
    "base_num_features": 12,
    "max_num_features": 52,
}
WINDOW = (128, 128)
PLAN = make_plan(TASK, WINDOW, (IN_PLANE_MM, IN_PLANE_MM), NETWORK)
NETWORK_CLASS = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
MIRROR_AXES = (0, 1)
TRAINING_SEEDS = range(1000, 1060)
VALIDATION_SEEDS = range(2000, 2003)
HELD_OUT_SEEDS = range(9001, 9009)
_logger = logging.getLogger("cookbook")


def run_training(steps: int, batch: int, learning_rate: float, seed: int, output: Path) -> torch.nn.Module:
    """Generates the cases, writes the plan, trains, and saves the weights at every pause."""
    torch.manual_seed(seed)
    cases = make_cases(generate_case, TRAINING_SEEDS)
    plans = output.with_name(f"{output.stem}_plans.json")
    described = describe_plan(PLAN, TASK, cases, NETWORK_CLASS, batch)
    plans.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    batches = Batches([prepare(case, PLAN) for case in cases], PLAN, np.random.default_rng(seed))
    validation = make_cases(generate_case, VALIDATION_SEEDS)
    _logger.info("generated %d cases", len(cases))

    def pause(average: torch.nn.Module, step: int) -> None:
        save_weights(average, output, {"network": "nnunet", **NETWORK}, step)
        evaluate(average, validation[:1], PLAN)

    network = GenericUNet(**NETWORK)
    return train(network, batches, steps=steps, batch=batch, learning_rate=learning_rate, on_pause=pause)


def main() -> None:
    arguments = read_options(training_parser(__doc__, steps=1500, learning_rate=4e-3, batch=8))
    if arguments.score_only:
        from safetensors.torch import load_file

        network = GenericUNet(**NETWORK).eval()
        network.load_state_dict(load_file(arguments.output))
    else:
        options = (arguments.steps, arguments.batch, arguments.learning_rate, arguments.seed)
        network = run_training(*options, arguments.output)
    held_out = make_cases(generate_case, HELD_OUT_SEEDS)
    for mirror_axes in ((), MIRROR_AXES):
        _logger.info("held out, mirrored axes %s", mirror_axes)
        evaluate(network, held_out, PLAN, mirror_axes)


if __name__ == "__main__":
    main()
