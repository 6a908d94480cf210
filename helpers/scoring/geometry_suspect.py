"""A mask of the right size in the wrong place: which flip or order of axes would put it right, if one does.

A mirror that is not undone, or axes in another order, leave the volumes of prediction and truth equal and their
overlap small. Trying all of them takes a moment and names the defect.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

AXIS_NAMES = ("z", "y", "x")
LOW_DICE = 0.8  # below it a change is looked for: organs are symmetric enough to keep a good half of their overlap
UNEXPLAINED_DICE = 0.5  # below it a mask is worth a word even when no change explains it
VOLUME_RATIO = 0.7  # smaller over larger volume that counts as agreeing
LEAST_GAIN = 0.15  # in Dice, that a change has to bring before it is blamed
_CLOSE = 0.02  # in Dice; symmetric organs fit several changes nearly as well, and the simplest is meant
_SAMPLES = 96  # along each axis

Change = tuple[tuple[int, ...], tuple[int, ...]]  # order of axes, then axes to flip


@dataclass(frozen=True)
class Suspicion:
    """What seems to be wrong, as a phrase for an error, and Dice as it is and with that undone."""

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
    """Names the flip or the order of axes that explains a low Dice between volumes of the same size.

    Args:
        prediction, truth: labels or booleans, (Z, Y, X) or (H, W); all but zero is foreground. The prediction may
            have the truth's sides in another order.

    Returns:
        None where Dice is fine or the volumes differ. "not a flip (shifted)" where moving the prediction explains it
        and no flip does, "not a flip" where nothing does.
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
    if undone >= max(now + LEAST_GAIN, moved - 2 * _CLOSE):
        return Suspicion(_describe(*change), now, undone, *change)
    if moved >= now + LEAST_GAIN:
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
    # The truth's axis i lies on the prediction's axis order[i].
    swap = f"axes {moved[0]} and {moved[1]} swapped"
    if len(moved) > 2:
        swap = f"axes in the order {', '.join(names[axis] for axis in np.argsort(order))}"
    return f"{swap} and {flip}" if flip else swap


def _dice(ours: np.ndarray, theirs: np.ndarray) -> float:
    total = np.count_nonzero(ours) + np.count_nonzero(theirs)
    return 2.0 * np.count_nonzero(ours & theirs) / total if total else 0.0


def _sampled(mask: np.ndarray) -> np.ndarray:
    # Evenly and alike from both ends, so that flips and orders of the sample are samples of the flipped volume.
    indices = [np.rint(np.linspace(0, side - 1, min(side, _SAMPLES))).astype(int) for side in mask.shape]
    return mask[np.ix_(*indices)]


def _best_moved_dice(ours: np.ndarray, theirs: np.ndarray) -> float:
    # Circular correlation: the largest overlap of all shifts, those that wrap around among them.
    spectrum = np.fft.rfftn(theirs.astype(np.float32)) * np.conj(np.fft.rfftn(ours.astype(np.float32)))
    overlap = np.fft.irfftn(spectrum, s=theirs.shape, axes=range(theirs.ndim)).max()
    total = np.count_nonzero(ours) + np.count_nonzero(theirs)
    return float(2 * overlap / total) if total else 0.0
