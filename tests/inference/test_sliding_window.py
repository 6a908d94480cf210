"""Labels and scores equal a dense float64 overlap-add, whatever the shape, mirrors, batches and delays."""

from __future__ import annotations

import itertools
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from helpers.errors import DeviceError
from helpers.inference import compute_steps, sliding_window, stream_slabs

CLASSES = 3


def lopsided(batch: np.ndarray) -> np.ndarray:
    """Class scores that depend on the content and, differently at each end of each axis, on the place."""
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


def activated(scores: np.ndarray, activation: str | None) -> np.ndarray:
    if activation == "softmax":
        power = np.exp(scores)
        return power / power.sum(axis=0)
    return 1 / (1 + np.exp(-scores)) if activation == "sigmoid" else scores


def dense_reference(volume, infer, window, *, step=0.5, gaussian=True, mirror_axes=(), activation=None):
    """Scores (classes, Z, Y, X) float64 by the plain description: pad, cut, mirror, average, weigh, add, divide."""
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
    """Scores within 1e-5 of the reference's range, labels equal wherever the first class leads by 1e-5."""
    reference_options = {name: value for name, value in options.items() if name != "batch_size"}
    expected = dense_reference(volume, getattr(infer, "plain", infer), window, **reference_options)
    slabs = list(stream_slabs(volume, infer, window, classes=CLASSES, **options))
    assert [slab.start for slab in slabs] == [0, *(slab.stop for slab in slabs[:-1])]
    assert slabs[-1].stop == volume.shape[1]
    scores = np.concatenate([slab.scores for slab in slabs], axis=1)
    assert scores.dtype == np.float32 and scores.shape == expected.shape
    assert np.abs(scores - expected).max() <= 1e-5 * max(1, np.ptp(expected))
    labels = sliding_window(volume, infer, window, classes=CLASSES, **options)
    assert labels.dtype == np.uint8 and labels.shape == volume.shape[1:]
    ordered = np.sort(expected, axis=0)
    clear = ordered[-1] - ordered[-2] >= 1e-5 * max(1, np.ptp(expected))
    assert clear.mean() > 0.5  # probabilities of sure answers tie
    assert np.array_equal(labels[clear], expected.argmax(0)[clear])


SHAPES = [
    ((9, 11, 13), (4, 4, 4)),
    ((4, 4, 4), (4, 4, 4)),
    ((3, 2, 5), (8, 6, 4)),  # smaller than the window
    ((3, 20, 5), (8, 6, 8)),
    ((1, 17, 19), (4, 8, 8)),  # one slice
    ((1, 9, 9), (1, 4, 4)),
    ((7, 13, 17), (3, 5, 7)),  # odd and prime
    ((23, 5, 5), (5, 5, 5)),
    ((6, 10, 12), (8, 8)),  # slices
    ((1, 5, 6), (8, 8)),
    ((5, 31, 7), (7, 9)),
]


@pytest.mark.parametrize(("shape", "window"), SHAPES)
def test_scores_and_labels_equal_the_dense_reference(shape, window):
    check(random_volume(shape), window)


def test_random_shapes_steps_and_options_equal_the_dense_reference():
    random = np.random.default_rng(11)
    for seed in range(30):
        shape = tuple(int(side) for side in random.integers(1, 13, 3))
        window = tuple(int(side) for side in random.integers(1, 9, random.choice([2, 3])))
        axes = [axis for axis in range(len(window)) if random.random() < 0.4]
        check(
            random_volume(shape, seed),
            window,
            step=float(random.choice([0.3, 0.5, 0.75, 1.0])),
            gaussian=bool(random.random() < 0.7),
            mirror_axes=axes,
            activation=random.choice([None, "softmax", "sigmoid"]),
            batch_size=int(random.integers(1, 8)),
        )


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_mirrors_are_undone_on_the_right_axis(axes):
    check(random_volume((5, 7, 9)), (4, 4, 6), mirror_axes=axes)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_mirrors_of_slices_are_undone_on_the_right_axis(axes):
    check(random_volume((3, 9, 11)), (4, 6), mirror_axes=axes)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_probabilities_are_averaged_not_logits(activation):
    volume = 4 * random_volume((6, 8, 8))
    check(volume, (4, 4, 4), activation=activation, mirror_axes=(0,))
    logits = dense_reference(volume, lopsided, (4, 4, 4))
    averaged = dense_reference(volume, lopsided, (4, 4, 4), activation=activation)
    assert np.abs(activated(logits, activation) - averaged).max() > 1e-3


def test_scores_too_large_for_exp_stay_finite():
    def loud(batch):
        return np.stack([900 * batch[:, 0], -900 * batch[:, 0]], axis=1)

    volume = random_volume((4, 6, 6), channels=1)
    for activation in ("softmax", "sigmoid"):
        (slab,) = stream_slabs(volume, loud, (4, 6, 6), classes=2, activation=activation)
        assert slab.scores.min() >= 0 and slab.scores.max() <= 1 + 1e-6  # false for NaN


@pytest.mark.parametrize("batch_size", [2, 5, 64])
def test_batches_that_cross_levels_change_nothing(batch_size):
    volume, sizes = random_volume((12, 9, 9)), []

    def counted(batch):
        sizes.append(batch.shape[0])
        return lopsided(batch)

    one = sliding_window(volume, lopsided, (4, 6, 6), classes=CLASSES)
    assert np.array_equal(sliding_window(volume, counted, (4, 6, 6), classes=CLASSES, batch_size=batch_size), one)
    assert max(sizes) <= batch_size and sum(sizes) == 5 * 2 * 2


def test_each_window_of_a_slice_is_inferred_once():
    calls = []

    def counted(batch):
        calls.append(batch.shape)
        return lopsided(batch)

    sliding_window(random_volume((9, 12, 8)), counted, (8, 8), classes=CLASSES)
    assert calls == [(1, 2, 8, 8)] * 9 * 2


class Delayed:
    """Answers late and out of order, and counts what is asked at once."""

    def __init__(self, max_in_flight: int):
        self.max_in_flight = max_in_flight
        self.pool = ThreadPoolExecutor(8)
        self.asked = self.most = 0
        self.lock = threading.Lock()
        self.plain = lopsided

    def submit(self, batch):
        with self.lock:
            self.asked += 1
            self.most = max(self.most, self.asked)
            delay = 0.004 * ((self.asked * 7) % 5)
        assert batch.flags.c_contiguous and batch.dtype == np.float32
        return self.pool.submit(self.run, batch, delay)

    def run(self, batch, delay):
        time.sleep(delay)
        with self.lock:
            self.asked -= 1
        return lopsided(batch)


@pytest.mark.parametrize("max_in_flight", [1, 4])
def test_answers_that_come_late_and_out_of_order_are_put_right(max_in_flight):
    infer = Delayed(max_in_flight)
    check(random_volume((9, 9, 9)), (4, 4, 4), infer, batch_size=2)
    assert infer.most <= max_in_flight + 1
    assert infer.most > 1


def test_slabs_come_while_later_windows_are_not_yet_inferred():
    seen = []

    def counted(batch):
        seen.append(batch.shape[0])
        return lopsided(batch)

    stream = stream_slabs(random_volume((40, 4, 4)), counted, (4, 4, 4), classes=CLASSES)
    first = next(stream)
    assert (first.start, first.stop) == (0, 2)
    assert len(seen) <= 4 < 19
    assert sum(slab.stop - slab.start for slab in stream) == 38


def test_the_accumulator_does_not_grow_with_the_depth():
    def peak(depth: int) -> int:
        volume = np.zeros((1, depth, 64, 64), np.float32)
        infer = np.zeros((1, CLASSES, 8, 32, 32), np.float32)
        tracemalloc.start()
        for _ in stream_slabs(volume, lambda batch: infer, (8, 32, 32), classes=CLASSES):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    shallow, deep = peak(40), peak(400)
    assert deep <= 1.1 * shallow
    assert deep < CLASSES * 400 * 64 * 64 * 4 / 5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    calls = []

    def broken(batch):
        calls.append(1)
        scores = lopsided(batch)
        if len(calls) == 7:
            scores[0, 1, 2, 3, 1] = bad
        return scores

    with pytest.raises(DeviceError, match="not finite"):
        sliding_window(random_volume((9, 9, 9)), broken, (4, 4, 4), classes=CLASSES)


def test_scores_of_another_shape_are_refused_with_both_shapes():
    with pytest.raises(DeviceError, match=r"received \(1, 3, 4, 4, 4\), expected \(1, 5, 4, 4, 4\)"):
        sliding_window(random_volume((9, 9, 9)), lopsided, (4, 4, 4), classes=5)


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_one_class_is_where_its_probability_is_above_a_half(activation):
    volume = random_volume((5, 9, 9), channels=1)
    labels = sliding_window(volume, lambda b: b, (4, 4, 4), classes=1, activation=activation)
    assert 0.3 < labels.mean() < 0.7
    assert np.array_equal(labels, (volume[0] > 0).astype(np.uint8))


def test_ties_go_to_the_first_class():
    labels = sliding_window(random_volume((4, 4, 4)), lambda b: np.zeros((1, 3, 4, 4, 4)), (4, 4, 4), classes=3)
    assert not labels.any()


def test_the_volume_is_left_as_it_was():
    volume = random_volume((3, 9, 9))
    before = volume.copy()
    sliding_window(volume, lopsided, (8, 6, 6), classes=CLASSES, mirror_axes=(0, 1))
    assert np.array_equal(volume, before)


def test_an_error_of_the_device_reaches_the_caller():
    def broken(batch):
        raise DeviceError("the device failed")

    with pytest.raises(DeviceError, match="the device failed"):
        sliding_window(random_volume((4, 4, 4)), broken, (4, 4, 4), classes=CLASSES)
