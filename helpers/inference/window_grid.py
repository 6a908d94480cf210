"""Where windows lie and how much each of their voxels counts, as nnU-Net does it.

Source: MIC-DKFZ/nnUNet, nnunetv2/inference/sliding_window_prediction.py (even steps; Gaussian with sigma = 1/8 of
the window).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def compute_steps(size: int, window: int, step: float) -> list[int]:
    """Start positions of windows along one axis, evenly spread, first and last flush with the ends.

    Args:
        size: length of the axis, at least `window`.
        window: length of the window.
        step: largest distance of neighbours as a fraction of the window, in (0, 1].

    >>> compute_steps(155, 64, 0.5)
    [0, 30, 61, 91]
    """
    if not 0 < step <= 1:
        raise ValueError(f"step is a fraction of the window in (0, 1]; received {step}")
    if size < window:
        raise ValueError(f"an axis of {size} is shorter than the window of {window}; pad it first")
    count = math.ceil((size - window) / (window * step)) + 1
    distance = (size - window) / (count - 1) if count > 1 else 0.0
    return [int(np.round(distance * index)) for index in range(count)]


def gaussian_profile(window: int, sigma_scale: float = 1 / 8) -> np.ndarray:
    """Weight along one axis, float64, largest value 1.

    nnU-Net filters a unit impulse at the window's centre with SciPy's `gaussian_filter`, cut off at four sigma; that
    filter is separable, so a window's weights are the outer product of its axes' profiles. The filter of an impulse
    is the filter's own kernel, which takes numpy alone: the machine with the accelerator may have nothing else.
    """
    sigma = float(window * sigma_scale)
    radius = int(4.0 * sigma + 0.5)
    kernel = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    kernel /= kernel.sum()
    distance = np.arange(window) - window // 2
    profile = np.where(np.abs(distance) <= radius, kernel[np.clip(distance + radius, 0, 2 * radius)], 0.0)
    profile /= profile.max()
    return np.maximum(profile, profile[profile > 0].min())


def padding_to_window(shape: tuple[int, ...], window: tuple[int, ...]) -> list[tuple[int, int]]:
    """Zeros before and after each axis that make a small volume as large as the window, centred."""
    missing = [max(0, wanted - size) for size, wanted in zip(shape, window, strict=True)]
    return [(count // 2, count - count // 2) for count in missing]


def mirror_combinations(axes: Sequence[int], leading: int = 2) -> list[tuple[int, ...]]:
    """Every combination of the mirrored spatial axes, none of them first, counted after the leading axes."""
    counts = range(len(axes) + 1)
    mirrors = itertools.chain.from_iterable(itertools.combinations(axes, count) for count in counts)
    return [tuple(axis + leading for axis in mirror) for mirror in mirrors]


class WindowGrid:
    """Window positions, Z outermost, and the weights along each axis.

    Args:
        shape: (Z, Y, X) of the volume, at least the window.
        window: (Z, Y, X).
        step: distance of neighbours as a fraction of the window.
        gaussian: weigh the middle more than the rim.
        flat: windows are slices; each slice is taken once.
    """

    def __init__(self, shape: tuple[int, ...], window: tuple[int, ...], step: float, gaussian: bool, flat: bool):
        self.shape, self.window, self.flat = shape, window, flat
        self.steps = [compute_steps(size, length, step) for size, length in zip(shape, window, strict=True)]
        if flat:  # each slice once: the step is a fraction of the window's own two axes
            self.steps[0] = list(range(shape[0]))
        self.profiles = [gaussian_profile(length) if gaussian else np.ones(length) for length in window]
        self.positions = list(itertools.product(*self.steps))
        # The weights of a full grid of separable windows sum to the product of the axes' own sums.
        self.inverse_sums = [1.0 / self._axis_sum(axis) for axis in range(3)]

    def weights_of_window(self) -> np.ndarray:
        """Weights (Z, Y, X) float32 of one window, the outer product of the axes' profiles."""
        z, y, x = self.profiles
        return (z[:, None, None] * y[None, :, None] * x[None, None, :]).astype(np.float32)

    def reach_before(self, number: int) -> tuple[int, int, int]:
        """(z, y, x) up to which the windows before this one reached along each axis; 0 for the first.

        Args:
            number: place of the window in `positions`. Positions repeat where a step is shorter than a voxel.
        """
        places = np.unravel_index(number, [len(steps) for steps in self.steps])
        axes = zip(self.steps, self.window, places, strict=True)
        return tuple(steps[place - 1] + length if place else 0 for steps, length, place in axes)

    def finished_after(self, number: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """(planes, rows) that no window after this one reaches; earlier rows of these planes were finished before."""
        k, j, i = np.unravel_index(number, [len(steps) for steps in self.steps])
        if i + 1 < len(self.steps[2]):
            return None
        planes, rows = (
            (steps[place], steps[place + 1] if place + 1 < len(steps) else size)
            for steps, place, size in zip(self.steps[:2], (k, j), self.shape[:2], strict=True)
        )
        return (planes, rows) if planes[0] < planes[1] and rows[0] < rows[1] else None

    def _axis_sum(self, axis: int) -> np.ndarray:
        total = np.zeros(self.shape[axis])
        for start in self.steps[axis]:
            total[start : start + self.window[axis]] += self.profiles[axis]
        return total


class PaddedVolume:
    """A volume at least as large as the window, the grid of its windows, and where the volume itself lies in it.

    Args:
        volume: (C, Z, Y, X).
        window: (Z, Y, X), or (Y, X) for slices.
        step, gaussian: as `WindowGrid`.

    Attributes:
        array: (C, Z, Y, X) with zeros around it where it was smaller than the window.
        crop: slices that take the volume out of what was padded.
    """

    def __init__(self, volume: np.ndarray, window: Sequence[int], step: float, gaussian: bool):
        flat = len(window) == 2
        window = (1, *window) if flat else tuple(window)
        pads = padding_to_window(volume.shape[1:], window)
        inside = zip(volume.shape[1:], pads, strict=True)
        self.crop = tuple(slice(before, before + size) for size, (before, _) in inside)
        self.array = np.pad(volume, [(0, 0), *pads]) if any(map(sum, pads)) else volume
        self.grid = WindowGrid(self.array.shape[1:], window, step, gaussian, flat)


@dataclass(frozen=True)
class Slab:
    """Finished planes of a volume: `scores` (classes, Z, Y, X) float32 for planes start to stop."""

    start: int
    stop: int
    scores: np.ndarray
