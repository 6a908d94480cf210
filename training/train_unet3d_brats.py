"""Trains the small 3D U-Net of the `unet3d_brats` demo on generated cases and scores it on unseen ones.

Run from the repository's root: `python training/train_unet3d_brats.py --output FILE.safetensors`.
The loss is cross-entropy plus soft Dice (Milletari et al., arXiv:1606.04797) on random crops of 64 voxels.
"""

from __future__ import annotations

import copy
import json
import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from options import read_options, training_parser

from helpers.demo.brats import MODALITIES, generate_case
from helpers.networks.unet3d import UNet3D

CROP = 64
NETWORK = {"in_channels": 4, "n_classes": 4, "base_n_filter": 4}
BRATS_LABELS = (0, 1, 2, 4)
REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}
TRAINING_SEEDS = range(1000, 1024)
VALIDATION_SEEDS = range(2000, 2003)
HELD_OUT_SEEDS = range(9001, 9011)
_logger = logging.getLogger("cookbook")


def prepare_images(images: np.ndarray) -> np.ndarray:
    """Prepares images (4, Z, Y, X) as the source does: clip to percentiles 0.1 and 99.8, then z-score.

    Both use the whole volume, background included, and the unbiased standard deviation.
    """
    prepared = np.empty(images.shape, np.float32)
    for target, image in zip(prepared, images.astype(np.float32), strict=True):
        clipped = np.clip(image, *np.percentile(image, [0.1, 99.8]))
        target[...] = (clipped - clipped.mean(dtype=np.float64)) / clipped.std(ddof=1, dtype=np.float64)
    return prepared


def make_cases(seeds: range) -> list[tuple[np.ndarray, np.ndarray]]:
    """Prepared images (4, Z, Y, X) float16 and classes 0..3 (Z, Y, X) uint8 for every seed."""

    def make(seed: int) -> tuple[np.ndarray, np.ndarray]:
        case = generate_case(seed)
        classes = np.searchsorted(BRATS_LABELS, case.labels).astype(np.uint8)
        return prepare_images(case.images).astype(np.float16), classes

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(make, seeds))


def draw_crops(cases: list, batch: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Random crops, two of three near a tumour voxel, randomly flipped and slightly rescaled."""
    images, targets = [], []
    for _ in range(batch):
        image, classes, tumour = cases[rng.integers(len(cases))]
        limits = np.array(classes.shape) - CROP
        start = rng.integers(0, limits + 1)
        if rng.random() < 2 / 3:
            centre = tumour[rng.integers(len(tumour))]
            start = np.clip(centre - CROP // 2 + rng.integers(-24, 25, 3), 0, limits)
        box = tuple(slice(s, s + CROP) for s in start)
        flips = tuple(axis for axis in (0, 1, 2) if rng.random() < 0.5)
        crop = np.flip(image[(slice(None), *box)], [axis + 1 for axis in flips]).astype(np.float32)
        gain, shift = rng.uniform(0.9, 1.1, (4, 1, 1, 1)), rng.uniform(-0.1, 0.1, (4, 1, 1, 1))
        images.append((crop * gain + shift).astype(np.float32))
        targets.append(np.flip(classes[box], flips).astype(np.int64))
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(targets))


def loss_of(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus one minus the soft Dice of the three tumour classes, pooled over the batch."""
    probability = logits.softmax(1)[:, 1:]
    truth = functional.one_hot(target, NETWORK["n_classes"]).movedim(-1, 1)[:, 1:].to(probability.dtype)
    axes = (0, 2, 3, 4)
    overlap = (probability * truth).sum(axes)
    dice = (2 * overlap + 50) / (probability.sum(axes) + truth.sum(axes) + 50)
    return functional.cross_entropy(logits, target) + 1 - dice.mean()


def train(steps: int, batch: int, learning_rate: float, seed: int, output: Path) -> UNet3D:
    """Trains for a fixed number of steps; returns the exponential moving average of the weights."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    started = time.monotonic()
    cases = [(image, classes, np.argwhere(classes)) for image, classes in make_cases(TRAINING_SEEDS)]
    validation = make_cases(VALIDATION_SEEDS)
    _logger.info("generated %d cases in %.0f s", len(cases) + len(validation), time.monotonic() - started)
    network = UNet3D(**NETWORK).to(memory_format=torch.channels_last_3d)
    # The original 0.6 suits networks with many more channels; with four it would remove the signal.
    network.dropout3d.p = 0.0
    average = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps, pct_start=0.05)
    for step in range(1, steps + 1):
        loss = train_step(network, optimizer, *draw_crops(cases, batch, rng))
        schedule.step()
        follow(average, network, decay=min(0.998, step / (step + 20)))
        if step % 100 == 0:
            _logger.info("step %d loss %.3f after %.0f s", step, loss, time.monotonic() - started)
        if step % 1000 == 0 or step == steps:
            save_weights(average, output, step)
            _logger.info("validation %s", _mean(score_cases(average, validation)))
    return average


def train_step(
    network: UNet3D, optimizer: torch.optim.Optimizer, images: torch.Tensor, target: torch.Tensor
) -> float:
    """One step on crops (N, 4, Z, Y, X) with classes (N, Z, Y, X); returns the loss before the step."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(images.to(memory_format=torch.channels_last_3d))
    loss = loss_of(logits.float(), target)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def follow(average: UNet3D, network: UNet3D, decay: float) -> None:
    """Moves the average's weights towards the network's by 1 - decay."""
    for kept, new in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)


@torch.inference_mode()
def predict_classes(network: UNet3D, image: np.ndarray) -> np.ndarray:
    """Classes (Z, Y, X) of a prepared volume (4, Z, Y, X), from half-overlapping windows with Gaussian weights."""
    axis = torch.arange(CROP) - (CROP - 1) / 2
    bell = torch.exp(-0.5 * (axis / (CROP / 8)) ** 2)
    weight = (bell[:, None, None] * bell[:, None] * bell).clamp_min(1e-4)
    volume = torch.from_numpy(image.astype(np.float32))
    total = torch.zeros(NETWORK["n_classes"], *volume.shape[1:])
    last = [size - CROP for size in volume.shape[1:]]
    starts = [np.linspace(0, n, -(-n // (CROP // 2)) + 1).round().astype(int) for n in last]
    for start in product(*starts):
        box = (slice(None), *(slice(int(s), int(s) + CROP) for s in start))
        window = volume[box][None].contiguous(memory_format=torch.channels_last_3d)
        total[box] += network(window)[0] * weight
    return total.argmax(0).numpy().astype(np.uint8)


def score_cases(network: UNet3D, cases: list) -> list[dict[str, float]]:
    """Dice of WT, TC and ET for every case."""
    scores = []
    for image, classes in cases:
        found = predict_classes(network, image)
        scores.append({name: _dice(np.isin(found, of), np.isin(classes, of)) for name, of in REGIONS.items()})
    return scores


def best_threshold(image: np.ndarray, classes: np.ndarray) -> dict[str, tuple[float, str]]:
    """The best Dice of one threshold on one case, chosen with the truth, and its channel.

    Channels are the four modalities and T1ce minus T1; a threshold selects the voxels of the brain above or below it.
    """
    image = image.astype(np.float32)
    channels = dict(zip((*MODALITIES, "t1ce - t1"), (*image, image[1] - image[0]), strict=True))
    brain = image[0] > image[0].min()
    best = {}
    for name, of in REGIONS.items():
        truth = np.isin(classes[brain], of)
        results = []
        for channel, values in channels.items():
            edges = np.linspace(values.min(), values.max() + 1e-3, 2001)
            everything = np.histogram(values[brain], edges)[0]
            hits = np.histogram(values[brain][truth], edges)[0]
            for sign, way in ((1, "below"), (-1, "above")):
                chosen, hit = everything[::sign].cumsum(), hits[::sign].cumsum()
                results.append((float((2 * hit / (chosen + truth.sum())).max()), f"{channel} {way}"))
        best[name] = max(results)
    return best


def save_weights(network: UNet3D, output: Path, steps: int) -> None:
    """Writes float32 safetensors with the network's arguments as metadata."""
    from safetensors.torch import save_file

    state = {name: tensor.detach().float().contiguous() for name, tensor in network.state_dict().items()}
    arguments = {name: str(value) for name, value in NETWORK.items()}
    save_file(state, output, metadata={"network": "unet3d", **arguments, "steps": str(steps)})
    output.chmod(0o644)


def evaluate(network: UNet3D, seeds: range) -> dict:
    """Scores and the threshold baseline on the cases of some seeds, with their means."""
    cases = make_cases(seeds)
    scores = score_cases(network, cases)
    thresholds = [best_threshold(*case) for case in cases]
    for seed, score, threshold in zip(seeds, scores, thresholds, strict=True):
        _logger.info("case %d: %s, best threshold %s", seed, score, threshold)
    baseline = [{name: value for name, (value, _) in threshold.items()} for threshold in thresholds]
    return {"mean": _mean(scores), "threshold": _mean(baseline), "cases": dict(zip(seeds, scores, strict=True))}


def _dice(found: np.ndarray, truth: np.ndarray) -> float:
    total = int(found.sum()) + int(truth.sum())
    return round(2 * int((found & truth).sum()) / total, 4) if total else 1.0


def _mean(scores: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([score[name] for score in scores])), 4) for name in REGIONS}


def main() -> None:
    arguments = read_options(training_parser(__doc__, steps=1500, learning_rate=3e-3, batch=2))
    if arguments.score_only:
        from safetensors.torch import load_file

        network = UNet3D(**NETWORK).eval()
        network.load_state_dict(load_file(arguments.output))
    else:
        options = (arguments.steps, arguments.batch, arguments.learning_rate, arguments.seed)
        network = train(*options, arguments.output)
    _logger.info("held out: %s", json.dumps(evaluate(network, HELD_OUT_SEEDS)))


if __name__ == "__main__":
    main()
