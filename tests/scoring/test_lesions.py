"""Lesions are numbered, matched and counted as the BraTS challenges do it, here written out with SciPy alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from helpers.errors import DataError
from helpers.scoring.lesions import LesionRule, dilate, find_lesions

NEIGHBOURS_18 = ndimage.generate_binary_structure(3, 2)
NEIGHBOURS_26 = np.ones((3, 3, 3))


def blobs(random: np.random.Generator, shape: tuple[int, int, int], share: float) -> np.ndarray:
    """A few smooth blobs, which may touch the border."""
    noise = ndimage.gaussian_filter(random.normal(size=shape), 1.2)
    return noise > np.quantile(noise, 1 - share)


def pairs(count: int):
    """Masks of several shapes: empty ones, single voxels, full ones and blobs."""
    random = np.random.default_rng(0)
    for index in range(count):
        shape = tuple(int(side) for side in random.integers(3, 22, size=3))
        prediction, truth = (blobs(random, shape, random.uniform(0.002, 0.2)) for _ in range(2))
        prediction |= truth & (random.random(shape) < random.uniform(0, 1))
        for mask in (prediction, truth):
            if index % 11 == 3:
                mask[:] = False
                mask[tuple(random.integers(0, shape))] = index % 2
        yield prediction, truth, tuple(random.uniform(0.5, 3, size=3))


def written_out(prediction: np.ndarray, truth: np.ndarray, spacing: tuple, rule: LesionRule):
    """Dice, volume and whether it counts of each lesion, and the number of false components."""
    grown = truth.copy()
    if rule.dilation:
        grown = ndimage.binary_dilation(truth, NEIGHBOURS_18, iterations=rule.dilation)
    lesions, count = ndimage.label(grown, NEIGHBOURS_26)
    components, total = ndimage.label(prediction, NEIGHBOURS_26)
    found, rows = set(), []
    for number in range(1, count + 1):
        own = set(np.unique(components[lesions == number])) - {0}
        found |= own
        lesion, predicted = truth & (lesions == number), np.isin(components, list(own))
        volume = lesion.sum() * np.prod(spacing)
        dice = 2 * (lesion & predicted).sum() / (lesion.sum() + predicted.sum())
        rows.append((bool(own), round(volume, 6), round(dice, 9), volume > rule.minimum_mm3))
    return sorted(rows), total - len(found)


@pytest.mark.parametrize("dilation", [0, 1, 3])
def test_equal_to_the_definition_written_out(dilation):
    rule = LesionRule(dilation=dilation, minimum_mm3=20)
    for prediction, truth, spacing in pairs(80):
        found = find_lesions(prediction, truth, spacing, rule)
        of_truth = [each for each in found.lesions if each.kind != "false"]
        rows = sorted(
            (each.kind == "found", round(each.volume_mm3, 6), round(each.dice, 9), each.counts) for each in of_truth
        )
        assert (rows, len(found.of_kind("false"))) == written_out(prediction, truth, spacing, rule)


def test_numbers_centres_and_extents_are_on_the_grid_of_the_case():
    for prediction, truth, spacing in pairs(40):
        found = find_lesions(prediction, truth, spacing)
        lesions, components = found.on_grid(found.truth), found.on_grid(found.prediction)
        assert np.array_equal(lesions > 0, truth) and np.array_equal(components > 0, prediction)
        for lesion in found.lesions:
            where = (components if lesion.kind == "false" else lesions) == lesion.number
            assert where[lesion.centre] and where.sum() == where[lesion.extent].sum()
            assert where.sum() * np.prod(spacing) == pytest.approx(lesion.volume_mm3)
            assert np.isin(components, lesion.predictions).sum() * np.prod(spacing) == pytest.approx(
                lesion.predicted_mm3
            )


def test_a_lesion_near_another_one_is_part_of_it_only_with_dilation():
    truth = np.zeros((1, 1, 9), bool)
    truth[..., [1, 4]] = True
    counts = [len(find_lesions(truth, truth, (1, 1, 1), LesionRule(dilation=step)).lesions) for step in (0, 1)]
    assert counts == [2, 1]


def test_nothing_anywhere_is_no_lesion():
    empty = np.zeros((4, 5, 6), bool)
    found = find_lesions(empty, empty, (1, 1, 1))
    assert found.lesions == () and not found.on_grid(found.truth).any()


def test_dilation_is_that_of_scipy():
    random = np.random.default_rng(1)
    for steps in (1, 2, 3):
        mask = random.random((9, 11, 13)) < 0.01
        assert np.array_equal(dilate(mask, steps), ndimage.binary_dilation(mask, NEIGHBOURS_18, iterations=steps))


def test_other_shapes_are_refused():
    with pytest.raises(DataError, match="not volumes of one shape"):
        find_lesions(np.zeros((2, 3, 4), bool), np.zeros((2, 3, 5), bool), (1, 1, 1))
