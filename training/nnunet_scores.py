"""Scores of a demo's nnU-Net on whole cases, compared with the best interval of intensities."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from nnunet_plan import TrainingCase, prepare

from helpers.data.nnunet.plan import Plan
from helpers.data.nnunet.preprocess import restore_labels
from helpers.data.nnunet.resample import resample_image
from helpers.demo.decathlon import DemoCase
from helpers.inference import WindowPlan, as_predictor, stream_slabs
from helpers.scoring.dice import dice

_logger = logging.getLogger("cookbook")


@torch.inference_mode()
def predict(network: torch.nn.Module, case: TrainingCase, plan: Plan, mirror_axes: Sequence[int] = ()) -> np.ndarray:
    """Labels (Z, Y, X) uint8 on the case's own grid, from averaged windows that are resampled before the argmax."""

    def infer(windows: np.ndarray) -> np.ndarray:
        outputs = network(torch.from_numpy(windows))
        return (outputs if torch.is_tensor(outputs) else outputs[0]).numpy()

    options = {"mirror_axes": tuple(mirror_axes), "activation": plan.activation}
    windows = WindowPlan(tuple(plan.patch_size), plan.n_classes, **options)
    slabs = stream_slabs(case.prepared.image, as_predictor(infer), windows)
    scores = np.concatenate([slab.scores for slab in slabs], axis=1)
    back = resample_image(scores, case.prepared.cropped_shape, case.prepared.back_axis, 1)
    return restore_labels(back.argmax(axis=0).astype(np.uint8), case.prepared)


def best_interval(image: np.ndarray, truth: np.ndarray) -> float:
    """The best Dice on one image of any lower and upper threshold, chosen with the truth."""
    edges = np.linspace(*np.percentile(image, [0.1, 99.9]), 201)
    edges[[0, -1]] = image.min() - 1, image.max() + 1
    hits = np.concatenate([[0], np.histogram(image[truth], edges)[0].cumsum()])
    chosen = np.concatenate([[0], np.histogram(image, edges)[0].cumsum()])
    scores = 2 * (hits[None] - hits[:, None]) / np.maximum(chosen[None] - chosen[:, None] + truth.sum(), 1)
    return round(float(np.triu(scores).max()), 4)


def evaluate(
    network: torch.nn.Module, cases: Sequence[DemoCase], plan: Plan, mirror_axes: Sequence[int] = ()
) -> np.ndarray:
    """Dice (cases, 2, classes) of the network and of the best interval, for classes 1 and up; all are logged."""
    rows = []
    for case in cases:
        found = predict(network, prepare(case, plan), plan, mirror_axes)
        masks = [(found == value, case.labels == value) for value in range(1, plan.n_classes)]
        scores = [round(1.0 if score is None else score, 4) for score in (dice(*pair) for pair in masks)]
        limits = [best_interval(case.image, truth) for _, truth in masks]
        rows.append((scores, limits))
        _logger.info("Dice %s, best interval %s", scores, limits)
    _logger.info("mean Dice %s, best interval %s", *np.mean(rows, axis=0).round(4).tolist())
    return np.array(rows)
