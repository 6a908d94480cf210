"""Trains the demo weights of the unet_carvana recipe on drawn cars.

    python training/train_unet_carvana.py --output helpers/weights/unet_carvana_demo.safetensors

The network is the official UNet at an eighth of its width, so that the file stays below two megabytes.
Pictures come from `helpers.demo.cars`, some of them darker than in the demo, and are prepared as for inference;
seeds below `FIRST_TRAINING_SEED` are never trained on.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import numpy as np
import torch
from options import read_options, training_parser
from safetensors.torch import save_file
from torch.nn import functional

from helpers.data.carvana import SIZE, prepare_image, prepare_mask, restore_mask
from helpers.demo.cars import generate_image
from helpers.networks.unet import UNet
from helpers.scoring.iou import foreground_iou, mean_iou

log = logging.getLogger("cookbook")

FIRST_TRAINING_SEED = 100_000
DARK_SHARE = 0.2  # of walls and floors; the demo's own pictures have none
ARGUMENTS = {"n_channels": 3, "n_classes": 1, "bilinear": False, "base_channels": 8}


class ScenePool:
    """Prepared pictures, drawn once and kept as bytes, that batches are cropped from."""

    def __init__(self, seed: int, count: int):
        self._random = np.random.default_rng(seed)
        self._scenes = np.empty((count, 4, SIZE, SIZE), np.uint8)
        for index in range(count):
            image, mask = generate_image(FIRST_TRAINING_SEED + seed * 1_000_000 + index, DARK_SHARE)
            self._scenes[index, :3] = np.rint(255 * prepare_image(image))
            self._scenes[index, 3] = prepare_mask(mask)

    def batch(self, count: int, crop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Random crops, half of them mirrored and half with permuted colours.

        Returns:
            Images (N, 3, crop, crop) in 0..1 and masks (N, 1, crop, crop), both float32.
        """
        crops = np.empty((count, 4, crop, crop), np.float32)
        for index in range(count):
            scene = self._scenes[self._random.integers(len(self._scenes))]
            top, left = self._random.integers(0, SIZE - crop + 1, size=2)
            step = int(self._random.choice([-1, 1]))
            colours = self._random.permutation(3) if self._random.random() < 0.5 else np.arange(3)
            crops[index] = scene[[*colours, 3], top : top + crop, left : left + crop][:, :, ::step]
        tensor = torch.from_numpy(crops)
        return tensor[:, :3] / 255, tensor[:, 3:]


def loss_of(network: UNet, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy plus one minus the batch's soft Dice."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(images.contiguous(memory_format=torch.channels_last))
    logits = logits.float()
    probability = torch.sigmoid(logits)
    dice = (2 * (probability * masks).sum() + 1) / (probability.sum() + masks.sum() + 1)
    return functional.binary_cross_entropy_with_logits(logits, masks) + 1 - dice


def train(network: UNet, options: argparse.Namespace, held_out: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Crops first, then whole pictures, under one cycle of the learning rate."""
    started = time.perf_counter()
    pool = ScenePool(options.seed, options.scenes)
    log.info("%d scenes drawn, %.0f s", options.scenes, _seconds(started))
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, total_steps=options.steps, pct_start=0.1, final_div_factor=1e3
    )
    whole_from, smooth = int(0.55 * options.steps), None
    for step in range(1, options.steps + 1):
        images, masks = pool.batch(4, 320) if step <= whole_from else pool.batch(2, SIZE)
        network.train()
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(network, images, masks)
        loss.backward()
        optimizer.step()
        schedule.step()
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        if step % 100 == 0:
            log.info("step %d of %d: loss %.4f, %.0f s", step, options.steps, smooth, _seconds(started))
        if step % 300 == 0:
            log.info("held-out IoU (16 images): %.4f", mean_iou(evaluate(network, held_out[:16])[0]))


def _seconds(started: float) -> float:
    return time.perf_counter() - started


@torch.no_grad()
def evaluate(network: UNet, cases: list[tuple[np.ndarray, np.ndarray]]) -> tuple[list[float], list[float]]:
    """IoU of each case at the prepared size, and at the picture's original size."""
    network.eval()
    prepared, original = [], []
    for image, mask in cases:
        logits = network(torch.from_numpy(prepare_image(image))[None])
        probability = torch.sigmoid(logits)[0, 0].numpy()
        prepared.append(foreground_iou(probability > 0.5, prepare_mask(mask)))
        original.append(foreground_iou(restore_mask(probability, *mask.shape), mask))
    return prepared, original


def threshold_oracle(cases: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """For each channel, the mean IoU of its best threshold over all cases, chosen with the masks.

    This is the best that one threshold of one channel could do, in either direction.
    """
    ious: dict[str, list[np.ndarray]] = {}
    for image, mask in cases:
        for name, channel in _channels(image).items():
            inside = np.bincount(channel[mask > 0], minlength=256)
            counts = np.bincount(channel.ravel(), minlength=256)
            for direction, order in (("from", slice(None, None, -1)), ("up to", slice(None))):
                hits, chosen = np.cumsum(inside[order]), np.cumsum(counts[order])
                ious.setdefault(f"{name} {direction}", []).append(hits / (chosen + inside.sum() - hits))
    return {name: float(np.mean(rows, axis=0).max()) for name, rows in ious.items()}


def _channels(image: np.ndarray) -> dict[str, np.ndarray]:
    red, green, blue = image.astype(np.float64)
    value, minimum = image.max(axis=0).astype(np.float64), image.min(axis=0)
    border = np.concatenate([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], axis=1).mean(axis=1)
    channels = {
        "red": red,
        "green": green,
        "blue": blue,
        "gray": 0.299 * red + 0.587 * green + 0.114 * blue,
        "saturation": 255 * (value - minimum) / np.maximum(value, 1),
        "value": value,
        "distance from border": np.sqrt(np.mean((image - border[:, None, None]) ** 2, axis=0)),
    }
    return {name: channel.astype(np.uint8) for name, channel in channels.items()}


def save(network: UNet, path: Path) -> None:
    """Writes the weights with the network's arguments as metadata."""
    metadata = {"network": "unet", **{name: str(value).lower() for name, value in ARGUMENTS.items()}}
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, str(path), metadata=metadata)


def main() -> None:
    parser = training_parser(__doc__, steps=3400, learning_rate=5e-3)
    parser.add_argument("--scenes", type=int, default=1000, help="pictures trained on")
    parser.add_argument("--held-out", type=int, default=100, help="seeds 0 to this number are scored")
    options = read_options(parser)
    torch.manual_seed(options.seed)
    network = UNet(**ARGUMENTS).to(memory_format=torch.channels_last)
    cases = [generate_image(seed) for seed in range(options.held_out)]
    train(network, options, cases)
    save(network, options.output)
    for name, ious in zip((f"{SIZE} x {SIZE}", "original size"), evaluate(network, cases), strict=True):
        log.info("held-out IoU at %s: mean %.4f, minimum %.4f", name, mean_iou(ious), min(ious))
    oracle = threshold_oracle(cases)
    best = max(oracle, key=oracle.get)
    log.info("threshold oracle: %.4f (%s)", oracle[best], best)


if __name__ == "__main__":
    main()
