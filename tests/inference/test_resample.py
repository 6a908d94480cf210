"""Resampled labels equal nnU-Net's float32 formula voxel for voxel, and resampled images its cubic splines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates, zoom

from helpers.errors import DataError
from helpers.inference import (
    Slab,
    resample_slabs,
    resample_to_labels,
    slab_to_labels,
)


def cubic_or_linear(values: np.ndarray, shape, order: int) -> np.ndarray:
    """The result of skimage.transform.resize(order, mode="edge", anti_aliasing=False), with its clipping."""
    factors = [new / old for new, old in zip(shape, values.shape, strict=True)]
    resized = zoom(values, factors, order=order, mode="nearest", grid_mode=True)
    return np.clip(resized, values.min(), values.max())


def nnunet_formula(data: np.ndarray, shape, axis: int | None, order: int) -> np.ndarray:
    """nnU-Net's default resampling, re-implemented: float64, order 0 across `axis`, the result in float32."""
    result = np.empty((data.shape[0], *shape), np.float32)
    for channel, values in enumerate(data.astype(np.float64)):
        if axis is None:
            result[channel] = cubic_or_linear(values, shape, order)
            continue
        plane = [size for index, size in enumerate(shape) if index != axis]
        slices = [cubic_or_linear(piece, plane, order) for piece in np.moveaxis(values, axis, 0)]
        stacked = np.stack(slices, axis)
        places = [
            (old / new) * (index + 0.5) - 0.5
            for old, new, index in zip(stacked.shape, shape, np.mgrid[tuple(slice(n) for n in shape)], strict=True)
        ]
        result[channel] = map_coordinates(stacked, places, order=0, mode="nearest")
    return result


CASES = [
    ((20, 50, 40), (33, 80, 71), None),
    ((40, 33, 37), (17, 21, 19), None),
    ((7, 9, 11), (7, 9, 11), None),
    ((1, 30, 20), (1, 41, 33), None),
    ((13, 31, 29), (37, 61, 59), None),
    ((30, 20, 20), (30, 33, 41), None),
    ((12, 50, 40), (33, 80, 71), 0),
    ((40, 20, 20), (15, 33, 41), 0),
    ((10, 23, 31), (10, 61, 59), 0),
    ((12, 20, 40), (33, 51, 71), 1),
    ((12, 20, 40), (33, 51, 71), 2),
    ((1, 20, 40), (1, 31, 71), 0),
]


def random_scores(shape, classes: int = 3, dtype=np.float32) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal((classes, *shape)).astype(dtype)


@pytest.mark.parametrize(("source", "target", "axis"), CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_no_label_differs_from_nnunets_formula(source, target, axis, dtype):
    scores = random_scores(source, dtype=dtype)
    labels = resample_to_labels(scores, target, nearest_axis=axis)
    assert labels.dtype == np.uint8
    assert (labels != nnunet_formula(scores, target, axis, 1).argmax(0)).sum() == 0


@pytest.mark.parametrize(("source", "target", "axis"), CASES)
def test_scores_equal_nnunets_to_the_last_bit_but_one(source, target, axis):
    probabilities = np.exp(random_scores(source))
    probabilities /= probabilities.sum(0)
    slabs = list(resample_slabs(probabilities, target, nearest_axis=axis))
    assert [slab.start for slab in slabs] == list(range(target[0]))
    scores = np.concatenate([slab.scores for slab in slabs], axis=1)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, nnunet_formula(probabilities, target, axis, 1), rtol=3e-7)


@pytest.mark.parametrize("axis", [None, 0])
def test_a_stream_of_slabs_gives_what_the_array_gives(axis):
    scores = random_scores((20, 30, 20))
    slabs = [Slab(start, min(start + 7, 20), scores[:, start : start + 7]) for start in range(0, 20, 7)]
    streamed = resample_to_labels(iter(slabs), (33, 41, 27), source_shape=(20, 30, 20), nearest_axis=axis)
    assert np.array_equal(streamed, resample_to_labels(scores, (33, 41, 27), nearest_axis=axis))
    whole = np.concatenate([s.scores for s in resample_slabs(scores, (33, 41, 27), nearest_axis=axis)], axis=1)
    assert np.array_equal(streamed, slab_to_labels(whole))


def test_planes_are_yielded_before_the_source_ends():
    given = []

    def source():
        for z in range(50):
            given.append(z)
            yield Slab(z, z + 1, np.zeros((2, 1, 8, 8), np.float32))

    stream = resample_slabs(source(), (100, 8, 8), source_shape=(50, 8, 8))
    next(stream)
    assert len(given) <= 2


def test_slabs_without_the_volumes_shape_or_with_too_few_planes_are_refused():
    slab = Slab(0, 1, np.zeros((2, 1, 4, 4), np.float32))
    with pytest.raises(DataError, match="source_shape"):
        resample_to_labels([slab], (4, 4, 4))
    with pytest.raises(DataError, match="end early"):
        resample_to_labels([slab], (4, 4, 4), source_shape=(4, 4, 4))


@pytest.mark.parametrize("axis", [None, 0])
def test_a_constant_stays_constant(axis):
    image = np.full((1, 5, 9, 7), 3.25, np.float32)
    for slab in resample_slabs(image, (11, 14, 13), nearest_axis=axis):
        np.testing.assert_allclose(slab.scores, 3.25, rtol=1e-7)


def test_one_class_uses_the_threshold():
    scores = random_scores((6, 7, 8), classes=1)
    (expected,) = nnunet_formula(scores, (9, 13, 11), None, 1)
    assert np.array_equal(resample_to_labels(scores, (9, 13, 11), threshold=0.3), (expected > 0.3).astype(np.uint8))
