"""Trains the demo weights of the fcn_voc2012 recipe on generated scenes.

    python training/train_fcn_voc2012.py --output helpers/weights/fcn_voc2012_demo.safetensors

The network is FCN-R50-D8 at a reduced width, so that the file stays below two megabytes and a laptop processes
an image in a fraction of a second. Scenes come from `helpers.demo.voc_scenes`; seeds below
`FIRST_TRAINING_SEED` are never trained on.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from options import read_options, training_parser
from safetensors.torch import save_file
from torch.nn import functional

from helpers.data.case import Case
from helpers.data.letterbox import letterbox, restore_exact
from helpers.data.voc import CLASSES, IGNORE_INDEX, list_voc_cases, read_voc_case
from helpers.demo.voc_scenes import SCENE_CLASSES, generate_scene, write_demo_cases
from helpers.networks.fcn import FCNResNet50D8
from helpers.scoring.confusion import ConfusionMatrix, SegmentationScores

log = logging.getLogger("cookbook")

FIRST_TRAINING_SEED = 100_000
SIZE = 500
ARGUMENTS = {
    "num_classes": 21,
    "base_channels": 8,
    "head_channels": 40,
    "auxiliary_channels": 16,
    "blocks": (2, 2, 2, 2),
}


class ScenePool:
    """Letterboxed scenes, each used for several crops and replaced by a new one over time."""

    def __init__(self, seed: int, capacity: int):
        self._rng = np.random.default_rng(seed)
        self._next_seed = FIRST_TRAINING_SEED + seed * 1_000_000
        self._scenes: list[tuple[np.ndarray, np.ndarray]] = []
        self._capacity = capacity

    def renew(self, count: int) -> None:
        """Draws new scenes; the oldest ones are dropped when the pool is full."""
        for _ in range(count):
            scene = generate_scene(self._next_seed)
            self._next_seed += 1
            prepared = letterbox(scene.image, SIZE)
            label = np.full((SIZE, SIZE), IGNORE_INDEX, np.uint8)
            rows = slice(prepared.top, prepared.top + prepared.height)
            label[rows, prepared.left : prepared.left + prepared.width] = scene.label
            self._scenes.append((prepared.image.astype(np.float16), label))
        self._scenes = self._scenes[-self._capacity :]

    def batch(self, count: int, crop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Random crops, mirrored half the time: images (N, 3, crop, crop) and labels (N, crop, crop)."""
        images, labels = [], []
        for _ in range(count):
            image, label = self._scenes[self._rng.integers(len(self._scenes))]
            top, left = self._rng.integers(0, SIZE - crop + 1, size=2)
            image, label = (
                image[:, top : top + crop, left : left + crop],
                label[top : top + crop, left : left + crop],
            )
            if self._rng.random() < 0.5:
                image, label = image[:, :, ::-1], label[:, ::-1]
            images.append(image.astype(np.float32))
            labels.append(label.astype(np.int64))
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))


def loss_of(network: FCNResNet50D8, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the decode head at full size and 0.4 times that of the auxiliary head at stride 8."""
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        decode, auxiliary = network.forward_heads(images)
    decode = functional.interpolate(decode.float(), size=labels.shape[1:], mode="bilinear", align_corners=False)
    coarse = labels[:, 4::8, 4::8]  # each stride-8 cell represents the pixel at its centre
    auxiliary = functional.interpolate(auxiliary.float(), size=coarse.shape[1:], mode="nearest")
    loss = functional.cross_entropy(decode, labels, ignore_index=IGNORE_INDEX)
    return loss + 0.4 * functional.cross_entropy(auxiliary, coarse, ignore_index=IGNORE_INDEX)


def train(network: FCNResNet50D8, options: argparse.Namespace, held_out: list[Case]) -> None:
    """Crops first, then whole letterboxed images, under one cycle of the learning rate."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.learning_rate, total_steps=options.steps, pct_start=0.1, final_div_factor=1e3
    )
    pool = ScenePool(options.seed, options.pool)
    pool.renew(options.pool // 4)
    whole_from, started, smooth = int(options.steps * 0.85), time.perf_counter(), None
    for step in range(1, options.steps + 1):
        pool.renew(options.new_scenes)
        images, labels = pool.batch(8, 256) if step <= whole_from else pool.batch(3, SIZE)
        network.train()
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(network, images, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        if step % 100 == 0:
            log.info("step %d of %d: loss %.4f, %.0f s", step, options.steps, smooth, time.perf_counter() - started)
        if step % 500 == 0:
            log.info("held-out mIoU (20 images): %.4f", evaluate(network, held_out[:20]).miou_present)


@torch.no_grad()
def evaluate(network: FCNResNet50D8, cases: list[Case]) -> SegmentationScores:
    """Scores on whole images, prepared and restored as the recipe does."""
    network.eval()
    matrix = ConfusionMatrix(len(CLASSES))
    for case in cases:
        prepared = letterbox(case.image.transpose(1, 2, 0), SIZE)
        classes = network(torch.from_numpy(prepared.image)[None]).argmax(dim=1)[0].numpy()
        matrix.update(restore_exact(classes, prepared), case.truth)
    return matrix.scores()


def threshold_oracle(cases: list[Case], levels: int = 32) -> dict[int, float]:
    """For each class, the IoU of the best interval of any single channel, chosen with the labels.

    Channels are red, green, blue, brightness, saturation and hue in `levels` steps. This is the best that a method
    which thresholds colours could do.
    """
    from PIL import Image

    pixels, labels = [], []
    for case in cases:
        image = np.ascontiguousarray(case.image.transpose(1, 2, 0))
        hsv = np.asarray(Image.fromarray(image).convert("HSV"))
        kept = case.truth != IGNORE_INDEX
        channels = np.concatenate([image, hsv[..., :2], image.mean(axis=2, keepdims=True)], axis=2)
        pixels.append(channels[kept])
        labels.append(case.truth[kept])
    bins = (np.concatenate(pixels) * (levels / 256)).astype(np.int64)
    label = np.concatenate(labels)
    best = {}
    for number in SCENE_CLASSES:
        inside = label == number
        ious = [_best_interval(channel, inside, levels) for channel in bins.T]
        best[number] = max(ious)
    return best


def _best_interval(channel: np.ndarray, inside: np.ndarray, levels: int) -> float:
    total = np.concatenate([[0], np.cumsum(np.bincount(channel, minlength=levels))])
    hit = np.concatenate([[0], np.cumsum(np.bincount(channel[inside], minlength=levels))])
    hits = hit[None, :] - hit[:, None]
    unions = (total[None, :] - total[:, None]) + inside.sum() - hits
    return float(np.triu(hits / np.maximum(unions, 1), 1).max())


def save(network: FCNResNet50D8, path: Path) -> None:
    """Writes the weights with the network's arguments as metadata."""
    arguments = {**ARGUMENTS, "blocks": ",".join(map(str, ARGUMENTS["blocks"]))}
    metadata = {"network": "fcn_r50_d8", **{name: str(value) for name, value in arguments.items()}}
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, str(path), metadata=metadata)
    path.chmod(0o644)  # safetensors makes the file readable by its owner only


def main() -> None:
    parser = training_parser(__doc__, steps=3000, learning_rate=4e-3)
    parser.add_argument("--pool", type=int, default=400, help="scenes kept in memory")
    parser.add_argument("--new-scenes", type=int, default=2, help="scenes drawn at each step")
    parser.add_argument("--held-out", type=int, default=60, help="seeds 0 to this number are scored")
    options = read_options(parser)
    torch.manual_seed(options.seed)
    network = FCNResNet50D8(**ARGUMENTS).to(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        write_demo_cases(folder, range(options.held_out))
        cases = [read_voc_case(case) for case in list_voc_cases(folder)]
    train(network, options, cases)
    save(network, options.output)
    scores, oracle = evaluate(network, cases), threshold_oracle(cases)
    log.info("held-out mIoU over the classes present %.4f, pixel accuracy %.4f", scores.miou_present, scores.aacc)
    log.info("threshold oracle mIoU %.4f", float(np.mean(list(oracle.values()))))
    for number in SCENE_CLASSES:
        log.info("%-12s IoU %.4f, threshold oracle %.4f", CLASSES[number], scores.iou[number], oracle[number])


if __name__ == "__main__":
    main()
