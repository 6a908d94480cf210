"""The training loop of the nnU-Net recipes: cases, batches, loss and optimisation."""

from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from nnunet_plan import TrainingCase
from torch.nn import functional

from helpers.data.nnunet.plan import Plan
from helpers.demo.decathlon import DemoCase

_logger = logging.getLogger("cookbook")


def make_cases(generate: Callable[[int], DemoCase], seeds: Sequence[int]) -> list[DemoCase]:
    """Generates the cases of some seeds, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(generate, seeds))


class Batches:
    """Random windows of prepared cases, two of three around a labelled voxel, randomly mirrored and rescaled."""

    def __init__(
        self,
        cases: Sequence[TrainingCase],
        plan: Plan,
        rng: np.random.Generator,
        flip_axes: Sequence[int] = (0, 1, 2),
    ):
        self._flat, self._rng = len(plan.patch_size) == 2, rng
        window = (1, *plan.patch_size) if self._flat else plan.patch_size
        self._window = np.array(window)
        self._flip_axes = tuple(flip_axes)
        self._cases = []
        for case in cases:
            pads = [(0, max(0, w - n)) for n, w in zip(case.classes.shape, window, strict=True)]
            image, classes = np.pad(case.prepared.image[0], pads), np.pad(case.classes, pads)
            rarest = [np.argwhere(classes == value)[::7] for value in range(1, plan.n_classes)]
            self._cases.append((image.astype(np.float16), classes, [points for points in rarest if len(points)]))

    def draw(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (N, 1, *window) float32 and classes (N, *window) int64."""
        images, targets = zip(*(self._draw_one() for _ in range(count)), strict=True)
        images, targets = torch.from_numpy(np.stack(images)[:, None]), torch.from_numpy(np.stack(targets))
        return (images[:, :, 0], targets[:, 0]) if self._flat else (images, targets)

    def _draw_one(self) -> tuple[np.ndarray, np.ndarray]:
        rng = self._rng
        image, classes, labelled = self._cases[rng.integers(len(self._cases))]
        limits = np.array(image.shape) - self._window
        start = rng.integers(0, limits + 1)
        if rng.random() < 2 / 3:
            points = labelled[rng.integers(len(labelled))]
            spread = rng.uniform(-0.35, 0.35, 3) * self._window
            start = points[rng.integers(len(points))] - self._window // 2 + spread.astype(int)
            start = np.clip(start, 0, limits)
        box = tuple(slice(s, s + w) for s, w in zip(start, self._window, strict=True))
        flips = [axis for axis in self._flip_axes if rng.random() < 0.5]
        crop = np.flip(image[box], flips).astype(np.float32)
        crop = crop * np.float32(rng.uniform(0.9, 1.1)) + np.float32(rng.uniform(-0.1, 0.1))
        return np.ascontiguousarray(crop), np.flip(classes[box], flips).astype(np.int64)


def loss_of(outputs: Sequence[torch.Tensor], target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus batch soft Dice of every output, with weights that halve with depth, as nnU-Net trains."""
    total, weights = 0, 0.0
    for index, logits in enumerate(outputs[:-1] or outputs):
        stride = [old // new for old, new in zip(target.shape[1:], logits.shape[2:], strict=True)]
        part = target[(slice(None), *(slice(None, None, s) for s in stride))]
        total = total + 0.5**index * _single_loss(logits.float(), part)
        weights += 0.5**index
    return total / weights


def _single_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    probability = logits.softmax(1)[:, 1:]
    truth = functional.one_hot(target, logits.shape[1]).movedim(-1, 1)[:, 1:].to(probability.dtype)
    axes = (0, *range(2, logits.ndim))
    overlap = (probability * truth).sum(axes)
    dice = (2 * overlap + 20) / (probability.sum(axes) + truth.sum(axes) + 20)
    return functional.cross_entropy(logits, target) + 1 - dice.mean()


def train(
    network: torch.nn.Module,
    batches: Batches,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    on_pause: Callable[[torch.nn.Module, int], None],
    loss_function: Callable[[Sequence[torch.Tensor], torch.Tensor], torch.Tensor] = loss_of,
) -> torch.nn.Module:
    """Trains with AdamW over one cycle of the learning rate; the loss is that of all outputs and the classes.

    Returns:
        The network with the moving average of the weights, which is also passed to `on_pause` every 300 steps.
    """
    average = copy.deepcopy(network).eval()
    layout = torch.channels_last_3d if batches.draw(1)[0].ndim == 5 else torch.channels_last
    network.to(memory_format=layout).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps, pct_start=0.08)
    started, recent = time.monotonic(), []
    for step in range(1, steps + 1):
        images, target = batches.draw(batch)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = network(images.to(memory_format=layout))
        loss = loss_function([outputs] if torch.is_tensor(outputs) else list(outputs), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        _follow(average, network, min(0.995, step / (step + 10)))
        recent.append(loss.item())
        if step % 50 == 0:
            seconds = time.monotonic() - started
            _logger.info("step %d loss %.3f after %.0f s", step, np.mean(recent[-50:]), seconds)
        if step % 300 == 0 or step == steps:
            on_pause(average, step)
    return average


@torch.no_grad()
def _follow(average: torch.nn.Module, network: torch.nn.Module, decay: float) -> None:
    for kept, new in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)


def save_weights(network: torch.nn.Module, output: Path, arguments: dict, steps: int) -> None:
    """Writes float32 safetensors with the network's arguments as metadata, as strings."""
    from safetensors.torch import save_file

    state = {name: tensor.detach().float().contiguous() for name, tensor in network.state_dict().items()}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in arguments.items()}
    save_file(state, output, metadata={**texts, "steps": str(steps)})
    output.chmod(0o644)
