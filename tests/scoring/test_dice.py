"""Dice equals a count by hand, and the source's soft score equals its formula, weakness included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.data.brats import REGIONS
from helpers.scoring.dice import dice, dice_of_regions, mean_of_known, soft_dice_of_source


def by_hand(prediction, truth) -> float | None:
    both = sum(p and t for p, t in zip(prediction, truth, strict=True))
    total = sum(map(bool, prediction)) + sum(map(bool, truth))
    return 2 * both / total if total else None


labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@settings(max_examples=200)
@given(labels)
def test_dice_and_regions_equal_a_count_by_hand(pairs):
    prediction, truth = (np.array(column, np.uint8).reshape(1, -1, 1) for column in zip(*pairs, strict=True))
    assert dice(prediction == 1, truth == 1) == by_hand(prediction.ravel() == 1, truth.ravel() == 1)
    scores = dice_of_regions(prediction, truth, REGIONS)
    assert list(scores) == ["WT", "TC", "ET"]
    regions = {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}}
    for name, members in regions.items():
        ours = [int(value) in members for value in prediction.ravel()]
        theirs = [int(value) in members for value in truth.ravel()]
        assert scores[name] == by_hand(ours, theirs)


def test_two_empty_masks_have_no_score():
    empty, full = np.zeros((2, 3, 4), bool), np.ones((2, 3, 4), bool)
    assert dice(empty, empty) is None
    assert dice(full, empty) == dice(empty, full) == 0.0
    assert dice(full, full) == 1.0


def test_means_leave_out_missing_scores():
    assert mean_of_known([None, 0.5, None, 1.0]) == 0.75
    assert mean_of_known([0.0, None]) == 0.0
    assert mean_of_known([None]) is mean_of_known([]) is None


def source_score(logits: torch.Tensor, truth: torch.Tensor) -> float:
    """Sigmoid, one-hot, 2 sum(pt) / clamp(sum(p^2) + sum(t^2)) per channel over the batch, mean of the channels."""
    classes = logits.shape[1]
    probability = torch.sigmoid(logits).transpose(0, 1).reshape(classes, -1)
    one_hot = torch.nn.functional.one_hot(truth.long(), classes).movedim(-1, 0).reshape(classes, -1).double()
    size = (probability * probability).sum(-1) + (one_hot * one_hot).sum(-1)
    return float((2 * (probability * one_hot).sum(-1) / size.clamp(min=1e-6)).mean())


@pytest.mark.parametrize(("seed", "shape"), [(0, (1, 4, 8, 8, 8)), (1, (3, 4, 5, 6, 7)), (2, (2, 2, 4, 4, 4))])
def test_the_score_of_the_source_is_its_formula(seed, shape):
    random = np.random.default_rng(seed)
    logits = (4 * random.standard_normal(shape)).astype(np.float32)
    truth = random.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.uint8)
    expected = source_score(torch.from_numpy(logits).double(), torch.from_numpy(truth))
    assert soft_dice_of_source(logits, truth) == pytest.approx(expected, abs=1e-6)


def test_a_batch_is_pooled_before_it_is_divided():
    random = np.random.default_rng(5)
    logits = random.standard_normal((2, 4, 6, 6, 6), dtype=np.float32)
    truth = np.zeros((2, 6, 6, 6), np.uint8)
    truth[1, :3] = 2
    apart = np.mean([soft_dice_of_source(logits[i : i + 1], truth[i : i + 1]) for i in (0, 1)])
    assert abs(soft_dice_of_source(logits, truth) - apart) > 1e-3


@pytest.mark.parametrize("background", [0.90, 0.93, 0.97])
@pytest.mark.parametrize("amount", [0.0, -60.0], ids=["untrained", "sure of background"])
def test_an_uninformative_output_scores_as_high_as_the_published_figures(background, amount):
    truth = np.zeros(30_000, np.uint8)
    marked = round((1 - background) * truth.size)
    truth[:marked] = np.resize([1, 2, 3], marked)
    truth = truth.reshape(1, 30, 25, 40)
    logits = np.zeros((1, 4, 30, 25, 40), np.float32)
    logits[:, 1:] = amount
    logits[:, 0] = -amount
    score = soft_dice_of_source(logits, truth)
    assert 0.225 <= score <= 0.285  # 0.2543 and 0.2560 are published
    fractions = np.bincount(truth.ravel(), minlength=4) / truth.size
    if amount == 0:
        assert score == pytest.approx(np.mean(fractions / (0.25 + fractions)), abs=1e-6)
    else:
        assert score == pytest.approx(2 * background / (1 + background) / 4, abs=1e-4)
    assert all(value == 0 for value in dice_of_regions(np.zeros_like(truth), truth, REGIONS).values())


def test_extreme_logits_do_not_overflow():
    logits = np.full((1, 2, 2, 2, 2), 1e4, np.float32)
    logits[:, 1] = -1e4
    with np.errstate(all="raise"):
        assert soft_dice_of_source(logits, np.zeros((1, 2, 2, 2), np.uint8)) == pytest.approx(0.5)
