"""The intensity steps of a model card, from stored values to the network's input."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from helpers.card.schema import IntensityStep, MeanStd, Percentiles, ZScore


def apply_steps(image: np.ndarray, steps: Iterable[IntensityStep]) -> np.ndarray:
    """The image (C, ...) after every step, float32.

    >>> steps = [IntensityStep(range=[0.0, 255.0]), IntensityStep(clip=[0.0, 0.5])]
    >>> apply_steps(np.array([[0, 51, 255]]), steps).astype(float).round(2).tolist()
    [[0.0, 0.2, 0.5]]
    """
    result = image.astype(np.float32)
    for step in steps:
        result = _apply(result, step)
    return np.ascontiguousarray(result, np.float32)


def _apply(image: np.ndarray, step: IntensityStep) -> np.ndarray:
    if step.scale is not None:
        return image * np.float32(step.scale)
    if step.range is not None:
        low, high = step.range
        return (image - np.float32(low)) / np.float32(high - low)
    if step.clip is not None:
        return image.clip(step.clip[0], step.clip[1])
    if step.mean_std is not None:
        return _mean_std(image, step.mean_std)
    if step.z_score is not None:
        return _z_score(image, step.z_score)
    if step.percentiles is not None:
        return _percentiles(image, step.percentiles)
    if step.ct_window is None:
        return image
    low = step.ct_window.centre - step.ct_window.width / 2
    return ((image - np.float32(low)) / np.float32(step.ct_window.width)).clip(0, 1)


def _mean_std(image: np.ndarray, step: MeanStd) -> np.ndarray:
    shape = (-1, *(1,) * (image.ndim - 1))
    mean, std = (np.array(numbers, np.float32).reshape(shape) for numbers in (step.mean, step.std))
    return (image - mean) / std


def _z_score(image: np.ndarray, step: ZScore) -> np.ndarray:
    """The mean and the standard deviation of the whole image; of a constant image only the mean is subtracted."""
    result = image.copy()
    for part in result if step.per_channel else [result]:
        counted = part != 0 if step.nonzero else np.ones(part.shape, bool)
        values = part[counted]
        if values.size:
            part[counted] = (values - values.mean(dtype=np.float64)) / (values.std(dtype=np.float64) or 1.0)
    return result


def _percentiles(image: np.ndarray, step: Percentiles) -> np.ndarray:
    if step.per_channel:
        return np.stack([_between_percentiles(channel, step) for channel in image])
    return _between_percentiles(image, step)


def _between_percentiles(image: np.ndarray, step: Percentiles) -> np.ndarray:
    low, high = (np.float32(value) for value in np.percentile(image, [step.low, step.high]))
    return ((image - low) / (high - low)).clip(0, 1) if high > low else np.zeros_like(image)
