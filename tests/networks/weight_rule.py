"""Weights and inputs that depend only on names, shapes and seeds, so that two networks can share them.

A tensor's values come from `numpy.random.PCG64` seeded with the CRC-32 of its key. Convolutions are scaled by
sqrt(2 / fan_in), norms stay near 1 and biases near 0, so that signals keep their size through deep networks.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping

import numpy as np
import torch


def rule_tensor(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The tensor of one state_dict entry: float32, or int64 zeros for `num_batches_tracked`."""
    leaf = key.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return torch.zeros(tuple(shape), dtype=torch.int64)
    draw = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()))).standard_normal(size=tuple(shape))
    if leaf == "running_mean":
        values = 0.1 * draw
    elif leaf == "running_var":
        values = 1 + 0.1 * np.abs(draw)
    elif len(shape) >= 2:
        values = draw * math.sqrt(2) / math.sqrt(math.prod(shape[1:]))
    elif leaf == "weight":
        values = 1 + 0.1 * draw
    elif leaf == "bias":
        values = 0.1 * draw
    else:
        raise ValueError(f"no rule for {key} of shape {tuple(shape)}")
    return torch.from_numpy(np.asarray(values).astype(np.float32))


def rule_state_dict(
    entries: Mapping[str, torch.Tensor] | Iterable[tuple[str, tuple[int, ...]]],
) -> dict[str, torch.Tensor]:
    """A complete state dict, from (key, shape) pairs or from the keys and shapes of another state dict."""
    if isinstance(entries, Mapping):
        entries = [(key, tuple(value.shape)) for key, value in entries.items()]
    return {key: rule_tensor(key, shape) for key, shape in entries}


def rule_input(seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal float32 input for a seed."""
    generator = np.random.Generator(np.random.PCG64(seed))
    return torch.from_numpy(generator.standard_normal(size=tuple(shape)).astype(np.float32))
