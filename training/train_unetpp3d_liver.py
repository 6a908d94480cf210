"""Trains the small 3-D UNet++ of the `unetpp3d_liver` demo on generated abdomens and scores it on unseen ones.

Run from the repository's root: `python training/train_unetpp3d_liver.py --output FILE.safetensors`; the plan is
written next to it as FILE_plans.json.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nnunet_loop import Batches, make_cases, save_weights, train
from nnunet_plan import describe_plan, make_plan, measure_foreground, prepare
from nnunet_scores import evaluate
from options import read_options, training_parser

from helpers.demo.abdomen import TASK, generate_case
from helpers.networks.unetpp import GenericUNetPlusPlus

NETWORK = {
    "input_channels": 1,
    "num_classes": 3,
    "pool_op_kernel_sizes": [[2, 2, 2]] * 3,
    "base_num_features": 8,
    "max_num_features": 320,
}
SPACING_MM = (5.0, 3.5, 3.5)
WINDOW = (48, 64, 64)
NETWORK_CLASS = "helpers.networks.unetpp.GenericUNetPlusPlus"
# Left and right distinguish liver and spleen, so they are not mirrored.
MIRROR_AXES = (0, 1)
TRAINING_SEEDS = range(1000, 1032)
VALIDATION_SEEDS = range(2000, 2003)
HELD_OUT_SEEDS = range(9001, 9009)
_logger = logging.getLogger("cookbook")


def run_training(
    steps: int, batch: int, learning_rate: float, seed: int, output: Path, start: Path | None
) -> torch.nn.Module:
    """Generates the cases, writes the plan, trains (from the weights in `start`, if any), and saves at each pause."""
    torch.manual_seed(seed)
    cases = make_cases(generate_case, TRAINING_SEEDS)
    plan = make_plan(TASK, WINDOW, SPACING_MM, NETWORK, measure_foreground(cases))
    plans = output.with_name(f"{output.stem}_plans.json")
    described = describe_plan(plan, TASK, cases, NETWORK_CLASS, batch)
    plans.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    prepared = [prepare(case, plan) for case in cases]
    batches = Batches(prepared, plan, np.random.default_rng(seed), MIRROR_AXES)
    validation = make_cases(generate_case, VALIDATION_SEEDS)
    _logger.info("generated %d cases", len(cases))

    def pause(average: torch.nn.Module, step: int) -> None:
        save_weights(average, output, {"network": "unetpp", **NETWORK}, step)
        evaluate(average, validation[:1], plan)

    network = GenericUNetPlusPlus(**NETWORK)
    if start:
        network.load_state_dict(load_file(start))
    return train(network, batches, steps=steps, batch=batch, learning_rate=learning_rate, on_pause=pause)


def main() -> None:
    parser = training_parser(__doc__, steps=1200, learning_rate=3e-3, batch=1)
    parser.add_argument("--start", type=Path, help="safetensors file with weights to continue from")
    arguments = read_options(parser)
    if arguments.score_only:
        network = GenericUNetPlusPlus(**NETWORK).eval()
        network.load_state_dict(load_file(arguments.output))
    else:
        options = (arguments.steps, arguments.batch, arguments.learning_rate, arguments.seed)
        network = run_training(*options, arguments.output, arguments.start)
    plans = json.loads(arguments.output.with_name(f"{arguments.output.stem}_plans.json").read_text(encoding="utf-8"))
    foreground = plans["foreground_intensity_properties_per_channel"]["0"]
    plan = make_plan(TASK, WINDOW, SPACING_MM, NETWORK, foreground)
    held_out = make_cases(generate_case, HELD_OUT_SEEDS)
    for mirror_axes in ((), MIRROR_AXES):
        _logger.info("held out, mirrored axes %s", mirror_axes)
        evaluate(network, held_out, plan, mirror_axes)


if __name__ == "__main__":
    main()
