"""The command line that the trainings share."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch


def training_parser(
    summary: str, *, steps: int, learning_rate: float, batch: int | None = None
) -> argparse.ArgumentParser:
    """The parser of a training's options; if `batch` is given, also of `--batch` and `--score-only`."""
    parser = argparse.ArgumentParser(description=summary.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    if batch is not None:
        parser.add_argument("--batch", type=int, default=batch)
        parser.add_argument("--score-only", action="store_true", help="score the weights in --output")
    return parser


def read_options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parses the options, and sets up the log and torch's threads."""
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    return options
