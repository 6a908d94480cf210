"""Intensities as nnU-Net normalises them, from the plan's statistics (CT) or the case's own (MRI).

Sources: MIC-DKFZ/nnUNet v1.7.1 (preprocessing/preprocessing.py) and v2 (preprocessing/normalization); they divide by
sd + 1e-8 and by max(sd, 1e-8).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from helpers.data.nnunet.plan import ChannelNorm
from helpers.errors import DataError

_EPSILON = 1e-8


def normalise(image: np.ndarray, channels: Sequence[ChannelNorm], inside: np.ndarray, version: int) -> np.ndarray:
    """A normalised copy of an image (C, Z, Y, X), float32.

    Args:
        image: intensities.
        channels: one scheme for each channel.
        inside: the nonzero region (Z, Y, X), for the channels whose plan masks.
        version: of nnU-Net.

    Raises:
        DataError: the image has another number of channels than the plan.
    """
    if len(image) != len(channels):
        raise DataError("the plan is of other channels than the case", received=len(image), expected=len(channels))
    result = np.array(image, np.float32)
    for values, norm in zip(result, channels, strict=True):
        if norm.scheme == "ct":
            _normalise_ct(values, norm)
        elif norm.scheme == "ct2":
            _normalise_ct_by_case(values, norm)
        elif norm.scheme == "zscore":
            _normalise_by_case(values, inside if norm.use_mask else None, version)
        elif norm.scheme != "none":
            _normalise_to_01(values, norm.scheme)
        if norm.use_mask and (norm.scheme == "zscore" or (version == 1 and norm.scheme != "none")):
            values[~inside] = 0
    return result


def _normalise_ct(values: np.ndarray, norm: ChannelNorm) -> None:
    np.clip(values, norm.low, norm.high, out=values)
    values -= np.float32(norm.mean)
    values /= np.float32(max(norm.sd, _EPSILON))


def _normalise_ct_by_case(values: np.ndarray, norm: ChannelNorm) -> None:
    between = values[(values > norm.low) & (values < norm.high)]
    mean, sd = between.mean(dtype=np.float64), between.std(dtype=np.float64)
    np.clip(values, norm.low, norm.high, out=values)
    values -= np.float32(mean)
    values /= np.float32(max(sd, _EPSILON))


def _normalise_by_case(values: np.ndarray, inside: np.ndarray | None, version: int) -> None:
    counted = values if inside is None else values[inside]
    mean, sd = counted.mean(dtype=np.float64), counted.std(dtype=np.float64)
    values -= np.float32(mean)
    values /= np.float32(sd + _EPSILON if version == 1 else max(sd, _EPSILON))


def _normalise_to_01(values: np.ndarray, scheme: str) -> None:
    if scheme == "rgb_to_01":
        values /= np.float32(255)
        return
    values -= values.min()
    values /= max(values.max(), np.float32(_EPSILON))
