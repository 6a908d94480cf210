"""A plain implementation of sliding windows in float64, and the check of labels and scores against it."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.ndimage import gaussian_filter

from helpers.inference import WindowPlan, as_predictor, compute_steps, sliding_window, stream_slabs

CLASSES = 3


def lopsided(batch: np.ndarray) -> np.ndarray:
    """Class scores that depend on the content and, differently at each end of each axis, on the position."""
    _, channels, *window = batch.shape
    place = sum(
        (axis + 1) * np.linspace(0, 1, side).reshape([-1 if a == axis else 1 for a in range(len(window))]) ** 2
        for axis, side in enumerate(window)
    )
    scores = [
        (batch * np.arange(index, index + channels).reshape(1, -1, *[1] * len(window))).sum(1)
        + np.sin(3 * index + place)
        + 0.2 * np.roll(batch[:, 0], index, axis=-1)
        for index in range(CLASSES)
    ]
    return np.stack(scores, axis=1).astype(np.float32)


def slabs_of(volume, infer, window, *, classes=CLASSES, step=0.5, **options):
    """`stream_slabs` with the arguments of `sliding_window`."""
    plan = WindowPlan(tuple(window), classes, step, **options)
    return stream_slabs(volume, as_predictor(infer), plan)


def activated(scores: np.ndarray, activation: str | None) -> np.ndarray:
    if activation == "softmax":
        power = np.exp(scores)
        return power / power.sum(axis=0)
    return 1 / (1 + np.exp(-scores)) if activation == "sigmoid" else scores


def dense_reference(volume, infer, window, *, step=0.5, gaussian=True, mirror_axes=(), activation=None):
    """Scores (classes, Z, Y, X) float64, computed plainly: pad, cut, mirror, average, weight, add, divide."""
    flat = len(window) == 2
    box = (1, *window) if flat else tuple(window)
    missing = [max(0, length - size) for size, length in zip(volume.shape[1:], box, strict=True)]
    pads = [(count // 2, count - count // 2) for count in missing]
    padded = np.pad(volume, [(0, 0), *pads])
    weights = np.zeros(box)
    weights[tuple(side // 2 for side in box)] = 1
    weights = gaussian_filter(weights, [side / 8 for side in box], mode="constant") if gaussian else np.ones(box)
    weights /= weights.max()
    steps = [compute_steps(size, length, step) for size, length in zip(padded.shape[1:], box, strict=True)]
    steps[0] = range(padded.shape[1]) if flat else steps[0]
    subsets = [axes for count in range(len(mirror_axes) + 1) for axes in itertools.combinations(mirror_axes, count)]
    total, norm = None, np.zeros(padded.shape[1:])
    for start in itertools.product(*steps):
        place = tuple(slice(first, first + side) for first, side in zip(start, box, strict=True))
        piece = padded[(slice(None), *place)]
        piece = piece[:, 0] if flat else piece
        answers = []
        for axes in subsets:
            flips = [axis + 1 for axis in axes]
            scores = infer(np.ascontiguousarray(np.flip(piece, flips))[None])[0].astype(np.float64)
            answers.append(np.flip(activated(scores, activation), flips))
        mean = np.mean(answers, axis=0)
        mean = mean[:, None] if flat else mean
        total = np.zeros((mean.shape[0], *padded.shape[1:])) if total is None else total
        total[(slice(None), *place)] += mean * weights
        norm[place] += weights
    inside = tuple(slice(before, size + before) for (before, _), size in zip(pads, volume.shape[1:], strict=True))
    return (total / norm)[(slice(None), *inside)]


def random_volume(shape, seed=0, channels=2) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((channels, *shape), dtype=np.float32)


def check(volume, window, infer=lopsided, **options) -> None:
    """Checks scores within 1e-5 of the reference's range, and labels wherever the best class leads by 1e-5."""
    reference_options = {name: value for name, value in options.items() if name != "batch_size"}
    expected = dense_reference(volume, getattr(infer, "plain", infer), window, **reference_options)
    slabs = list(slabs_of(volume, infer, window, **options))
    assert [slab.start for slab in slabs] == [0, *(slab.stop for slab in slabs[:-1])]
    assert slabs[-1].stop == volume.shape[1]
    scores = np.concatenate([slab.scores for slab in slabs], axis=1)
    assert scores.dtype == np.float32 and scores.shape == expected.shape
    assert np.abs(scores - expected).max() <= 1e-5 * max(1, np.ptp(expected))
    labels = sliding_window(volume, infer, window, classes=CLASSES, **options)
    assert labels.dtype == np.uint8 and labels.shape == volume.shape[1:]
    ordered = np.sort(expected, axis=0)
    clear = ordered[-1] - ordered[-2] >= 1e-5 * max(1, np.ptp(expected))
    assert clear.mean() > 0.5  # probabilities of confident outputs tie
    assert np.array_equal(labels[clear], expected.argmax(0)[clear])
