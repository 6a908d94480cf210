"""The windows of a volume: where they are, and how much each of their voxels counts, as in nnU-Net.

Source: MIC-DKFZ/nnUNet, nnunetv2/inference/sliding_window_prediction.py (evenly spread steps; Gaussian weights with
sigma = 1/8 of the window).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Position = tuple[int, int, int]  # (z, y, x)
_JSON_NAMES = {"tile_step_size": "step"}  # names in stored plans


@dataclass(frozen=True)
class WindowPlan:
    """How a volume (C, Z, Y, X) becomes labels (Z, Y, X).

    Args:
        window: (Z, Y, X), or (Y, X) for slices of axis Z.
        classes: channels of the scores.
        tile_step_size: largest distance between neighbouring windows, as a fraction of the window.
        gaussian: weight the centre of a window more than its border.
        mirror_axes: spatial axes of the window (0 is the first) to mirror; all combinations are averaged.
        activation: applied before windows and mirrors are averaged: None (logits, nnU-Net v2), "softmax"
            (nnU-Net v1) or "sigmoid".
        batch_size: windows per call of the network.
        target_shape: (Z, Y, X) to resample the scores to before labels are taken; None keeps the volume's own.
        nearest_axis: axis that is resampled with order 0.
        reuse_constant: run the network only once on windows that hold the same constant value.
        region_labels: the label that each channel paints, as in `slab_to_labels`; empty: the largest class wins.
        threshold: score above which a region, or the only class, is there; None: 0.5 if the activation is a sigmoid,
            else 0, as for logits.
    """

    window: tuple[int, ...]
    classes: int
    tile_step_size: float = 0.5
    gaussian: bool = True
    mirror_axes: tuple[int, ...] = ()
    activation: str | None = None
    batch_size: int = 1
    target_shape: tuple[int, ...] | None = None
    nearest_axis: int | None = None
    reuse_constant: bool = False
    region_labels: tuple[int, ...] = ()
    threshold: float | None = None

    @property
    def label_threshold(self) -> float:
        """The threshold itself: a logit of 0 is a sigmoid of 0.5."""
        if self.threshold is not None:
            return self.threshold
        return 0.5 if self.activation == "sigmoid" else 0.0

    @property
    def is_flat(self) -> bool:
        """Whether windows are slices, so that the network does not see the Z axis."""
        return len(self.window) == 2

    @property
    def box(self) -> tuple[int, int, int]:
        """The window as (Z, Y, X); a slice is one plane deep."""
        depth, height, width = (1, *self.window) if self.is_flat else self.window
        return depth, height, width

    def to_json(self) -> dict:
        """The plan as JSON values; the tile step size is stored as `step`."""
        content = asdict(self)
        return {_JSON_NAMES.get(name, name): value for name, value in content.items()}

    @classmethod
    def from_json(cls, content: Mapping) -> WindowPlan:
        """The plan from the values of `to_json`; lists become tuples again."""
        names = {stored: name for name, stored in _JSON_NAMES.items()}
        values: dict[str, Any] = {names.get(name, name): value for name, value in content.items()}
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**values | lists)


def compute_steps(size: int, window: int, tile_step_size: float) -> list[int]:
    """Start positions of windows along one axis, evenly spread, the first and last flush with the ends.

    Args:
        size: length of the axis, at least `window`.
        window: length of the window.
        tile_step_size: largest distance between neighbours as a fraction of the window, in (0, 1].

    >>> compute_steps(155, 64, 0.5)
    [0, 30, 61, 91]
    >>> compute_steps(64, 64, 0.5)
    [0]
    """
    if not 0 < tile_step_size <= 1:
        raise ValueError(f"the tile step size must be in (0, 1]; received {tile_step_size}")
    if size < window:
        raise ValueError(f"an axis of {size} is shorter than the window of {window}; pad it first")
    count = math.ceil((size - window) / (window * tile_step_size)) + 1
    distance = (size - window) / (count - 1) if count > 1 else 0.0
    return [int(np.round(distance * index)) for index in range(count)]


def gaussian_profile(window: int, sigma_scale: float = 1 / 8) -> np.ndarray:
    """Weights along one axis of a window, float64, with a maximum of 1 and no zeros.

    nnU-Net filters a unit impulse at the window's centre with SciPy's `gaussian_filter`, cut off at four sigma. That
    filter is separable, so the weights of a window are the outer product of its axes' profiles. The filtered impulse
    is the filter's own kernel, which needs numpy alone: the accelerator's machine may have nothing else.

    >>> gaussian_profile(8).round(4).tolist()
    [0.0003, 0.0111, 0.1353, 0.6065, 1.0, 0.6065, 0.1353, 0.0111]
    """
    sigma = float(window * sigma_scale)
    radius = int(4.0 * sigma + 0.5)
    kernel = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    kernel /= kernel.sum()
    distance = np.arange(window) - window // 2
    profile = np.where(np.abs(distance) <= radius, kernel[np.clip(distance + radius, 0, 2 * radius)], 0.0)
    profile /= profile.max()
    return np.maximum(profile, profile[profile > 0].min())


def padding_to_window(shape: Sequence[int], window: Sequence[int]) -> list[tuple[int, int]]:
    """Zeros before and after each axis that centre a small volume in an array as large as the window.

    >>> padding_to_window((5, 20, 7), (8, 8, 8))
    [(1, 2), (0, 0), (0, 1)]
    """
    missing = [max(0, length - size) for size, length in zip(shape, window, strict=True)]
    return [(count // 2, count - count // 2) for count in missing]


def mirror_combinations(axes: Sequence[int], leading: int = 2) -> list[tuple[int, ...]]:
    """Every combination of the mirrored spatial axes, the empty one first, counted after the leading axes.

    >>> mirror_combinations((0, 2))
    [(), (2,), (4,), (2, 4)]
    """
    counts = range(len(axes) + 1)
    mirrors = itertools.chain.from_iterable(itertools.combinations(axes, count) for count in counts)
    return [tuple(axis + leading for axis in mirror) for mirror in mirrors]


def window_starts(shape: Sequence[int], plan: WindowPlan) -> list[list[int]]:
    """Start positions along Z, Y and X over a volume of `shape` (Z, Y, X), padded to the window where it is smaller.

    >>> window_starts((3, 20, 7), WindowPlan((8, 8), 2))
    [[0, 1, 2], [0, 4, 8, 12], [0]]
    """
    lengths = [max(size, length) for size, length in zip(shape, plan.box, strict=True)]
    sides = zip(lengths, plan.box, strict=True)
    starts = [compute_steps(size, length, plan.tile_step_size) for size, length in sides]
    if plan.is_flat:  # every slice once: the step is a fraction of the window's own two axes
        starts[0] = list(range(lengths[0]))
    return starts


def count_samples(shape: Sequence[int], plan: WindowPlan | None) -> int:
    """Samples that the network runs on for a prepared image of this shape: windows times mirrors.

    >>> count_samples((1, 155, 240, 240), WindowPlan((64, 64, 64), 4, mirror_axes=(0,)))
    392
    """
    if plan is None:
        return 1
    return math.prod(len(starts) for starts in window_starts(shape[1:], plan)) * 2 ** len(plan.mirror_axes)


class WindowGrid:
    """Window positions, Z outermost, and the weights along each axis.

    Args:
        shape: (Z, Y, X) of the volume, at least the window.
        plan: window, tile step size and weighting.

    Attributes:
        starts: start positions along Z, Y and X.
        positions: (z, y, x) of every window, in the order in which they are inferred.
        inverse_sums: 1 / summed weight along each axis; a voxel's factor is the product of its three.
    """

    def __init__(self, shape: Sequence[int], plan: WindowPlan):
        self.shape, self.window = tuple(shape), plan.box
        self.starts = window_starts(shape, plan)
        self.profiles = [gaussian_profile(length) if plan.gaussian else np.ones(length) for length in self.window]
        z, y, x = self.starts
        self.positions: list[Position] = list(itertools.product(z, y, x))
        # The weights of a full grid of separable windows sum to the product of the axes' own sums.
        self.inverse_sums = [1.0 / self._axis_sum(axis) for axis in range(3)]

    def weights_of_window(self) -> np.ndarray:
        """Weights (Z, Y, X) float32 of one window, the outer product of the axes' profiles."""
        z, y, x = self.profiles
        return (z[:, None, None] * y[None, :, None] * x[None, None, :]).astype(np.float32)

    def reach_before(self, number: int) -> Position:
        """(z, y, x) that the windows before this one reach along each axis; 0 for the first.

        Args:
            number: index into `positions`. Positions repeat if a step is shorter than a voxel.
        """
        places = np.unravel_index(number, [len(starts) for starts in self.starts])
        axes = zip(self.starts, self.window, places, strict=True)
        z, y, x = (starts[place - 1] + length if place else 0 for starts, length, place in axes)
        return z, y, x

    def finished_after(self, number: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """(planes, rows) that no later window reaches; earlier rows of these planes were finished before."""
        k, j, i = np.unravel_index(number, [len(starts) for starts in self.starts])
        if i + 1 < len(self.starts[2]):
            return None
        planes, rows = (
            (starts[place], starts[place + 1] if place + 1 < len(starts) else size)
            for starts, place, size in zip(self.starts[:2], (k, j), self.shape[:2], strict=True)
        )
        return (planes, rows) if planes[0] < planes[1] and rows[0] < rows[1] else None

    def _axis_sum(self, axis: int) -> np.ndarray:
        total = np.zeros(self.shape[axis])
        for start in self.starts[axis]:
            total[start : start + self.window[axis]] += self.profiles[axis]
        return total


class PaddedVolume:
    """A volume at least as large as the window, and the grid of its windows.

    Args:
        volume: (C, Z, Y, X).
        plan: the windows.

    Attributes:
        array: (C, Z, Y, X), with zeros around the volume where it was smaller than the window.
        crop: slices (Z, Y, X) that cut the volume out of the padded array.
        grid: the windows over `array`.
    """

    def __init__(self, volume: np.ndarray, plan: WindowPlan):
        pads = padding_to_window(volume.shape[1:], plan.box)
        inside = zip(volume.shape[1:], pads, strict=True)
        self.crop = tuple(slice(before, before + size) for size, (before, _) in inside)
        self.array = np.pad(volume, [(0, 0), *pads]) if any(map(sum, pads)) else volume
        self.grid = WindowGrid(self.array.shape[1:], plan)


@dataclass(frozen=True)
class Slab:
    """Finished planes of a volume: `scores` (classes, Z, Y, X) float32 of planes `start` to `stop`."""

    start: int
    stop: int
    scores: np.ndarray
