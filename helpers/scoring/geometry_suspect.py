"""Finds the flip or the axis order that explains why a mask of the correct size is in the wrong place.

If mirroring is not undone, or axes are swapped, prediction and truth have equal volumes but overlap little. Trying
all flips and axis orders is fast and identifies the error.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from helpers.scoring.dice import dice

AXIS_NAMES = ("z", "y", "x")
LOW_DICE = 0.8  # changes are only tried below this Dice; a flipped organ may keep half of its overlap
UNEXPLAINED_DICE = 0.5  # below this Dice a mask is reported even if no change explains it
VOLUME_RATIO = 0.7  # volumes agree if smaller / larger is at least this
MINIMUM_GAIN = 0.15  # gain in Dice from which a change counts as the cause
_CLOSE = 0.02  # several changes may fit a symmetric organ; of those within this Dice, the simplest is chosen
_SAMPLES = 96  # per axis

Change = tuple[tuple[int, ...], tuple[int, ...]]  # order of axes, and axes to flip


@dataclass(frozen=True)
class Suspicion:
    """A suspected geometry error: a phrase for it, the Dice as is, and the Dice with the error undone."""

    what: str
    dice: float
    dice_if_undone: float
    axis_order: tuple[int, ...] | None = None
    flipped_axes: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.axis_order is None:
            return f"{self.what}: Dice {self.dice:.3f} although the volumes agree"
        return f"{self.what}: Dice {self.dice:.3f}, and {self.dice_if_undone:.3f} with that undone"


def suspect_geometry(prediction: np.ndarray, truth: np.ndarray) -> Suspicion | None:
    """Names the flip or the axis order that explains a low Dice between volumes of the same size.

    Args:
        prediction, truth: labels or booleans, (Z, Y, X) or (H, W); every non-zero value is foreground. The axes of
            the prediction may be in another order than those of the truth.

    Returns:
        None if the Dice is high enough or the volumes differ. "not a flip (shifted)" if only a shift explains the low
        Dice, "not a flip" if nothing does.

    >>> truth = np.zeros((8, 8), int)
    >>> truth[:3, :2] = 1
    >>> print(suspect_geometry(truth[::-1], truth))
    prediction looks flipped along y: Dice 0.000, and 1.000 with that undone
    """
    ours, theirs = prediction != 0, truth != 0
    sizes = sorted((np.count_nonzero(ours), np.count_nonzero(theirs)))
    if sorted(ours.shape) != sorted(theirs.shape) or sizes[0] == 0 or sizes[0] < VOLUME_RATIO * sizes[1]:
        return None
    now = _dice(ours, theirs) if ours.shape == theirs.shape else 0.0
    if now >= LOW_DICE:
        return None
    few_ours, few_theirs = _sampled(ours), _sampled(theirs)
    found = [(_dice(_changed(few_ours, change), few_theirs), change) for change in _changes(ours, theirs)]
    best = max((score for score, _ in found), default=0.0)
    change = next((change for score, change in found if score >= best - _CLOSE), None)
    undone = _dice(_changed(ours, change), theirs) if change else 0.0
    moved = _best_moved_dice(few_ours, few_theirs) if ours.shape == theirs.shape else 0.0
    if change and undone >= max(now + MINIMUM_GAIN, moved - 2 * _CLOSE):
        return Suspicion(_describe(*change), now, undone, *change)
    if moved >= now + MINIMUM_GAIN:
        return Suspicion("not a flip (shifted)", now, moved)
    return Suspicion("not a flip", now, max(now, undone)) if now < UNEXPLAINED_DICE else None


def _changes(ours: np.ndarray, theirs: np.ndarray) -> Iterator[Change]:
    axes = tuple(range(ours.ndim))
    flips = [flip for count in range(len(axes) + 1) for flip in itertools.combinations(axes, count)]
    for order in sorted(itertools.permutations(axes), key=lambda order: sum(map(int.__ne__, order, axes))):
        if tuple(ours.shape[axis] for axis in order) == theirs.shape:
            yield from ((order, flip) for flip in flips if flip or order != axes)


def _changed(mask: np.ndarray, change: Change) -> np.ndarray:
    return np.flip(mask.transpose(change[0]), change[1])


def _describe(order: tuple[int, ...], flipped: tuple[int, ...]) -> str:
    names = AXIS_NAMES[-len(order) :]
    moved = [names[axis] for axis, source in enumerate(order) if axis != source]
    flip = f"flipped along {' and '.join(names[axis] for axis in flipped)}" if flipped else ""
    if not moved:
        return f"prediction looks {flip}"
    # Axis i of the truth is axis order[i] of the prediction.
    swap = f"axes {moved[0]} and {moved[1]} swapped"
    if len(moved) > 2:
        swap = f"axes in the order {', '.join(names[axis] for axis in np.argsort(order))}"
    return f"{swap} and {flip}" if flip else swap


def _dice(ours: np.ndarray, theirs: np.ndarray) -> float:
    return dice(ours, theirs) or 0.0


def _sampled(mask: np.ndarray) -> np.ndarray:
    # The sample is symmetric, so flipping the sample equals sampling the flipped mask.
    indices = [np.rint(np.linspace(0, side - 1, min(side, _SAMPLES))).astype(int) for side in mask.shape]
    return mask[np.ix_(*indices)]


def _best_moved_dice(ours: np.ndarray, theirs: np.ndarray) -> float:
    # The maximum of the circular correlation is the largest overlap over all shifts, wrapped ones included.
    spectrum = np.fft.rfftn(theirs.astype(np.float32)) * np.conj(np.fft.rfftn(ours.astype(np.float32)))
    overlap = np.fft.irfftn(spectrum, s=theirs.shape, axes=range(theirs.ndim)).max()
    total = np.count_nonzero(ours) + np.count_nonzero(theirs)
    return float(2 * overlap / total) if total else 0.0
