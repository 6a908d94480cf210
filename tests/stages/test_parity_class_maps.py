"""Parity of a graph that ends in ArgMax, judged by the reference's margin where the class differs."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.stages.parity import check_parity


@pytest.fixture
def scores() -> np.ndarray:
    """(2, 3, 4, 5) with a range of exactly 8, whose best class leads by 1 except at two places."""
    scores = np.zeros((2, 3, 4, 5), np.float32)
    scores[:, 1] = 1.0
    scores[0, 2, 0, 0], scores[0, 0, 0, 1] = 8.0, 0.992
    return scores


def judge(scores, answer, margin=0.01):
    (row,) = check_parity(lambda batch: scores, {"device": lambda batch: answer}, [np.zeros(1)], margin=margin)
    return row


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
def test_equal_maps_have_no_error(scores, dtype):
    row = judge(scores, scores.argmax(axis=1)[None].astype(dtype))
    assert (row.largest, row.flips, row.clear_flips, row.positions) == (0.0, 0, 0, 40)


def test_a_flip_at_a_near_tie_is_not_a_clear_one(scores):
    near = scores.argmax(axis=1)[None].astype(np.int32)
    near[0, 0, 0, 1] = 0  # led by 0.008 of a range of 8
    row = judge(scores, near)
    assert (row.flips, row.clear_flips) == (1, 0)
    assert row.largest == pytest.approx(0.008 / 8 / 2, rel=1e-4)
    clear = near.copy()
    clear[0, 1, 2, 2] = 0  # led by 1 of 8
    row = judge(scores, clear)
    assert (row.flips, row.clear_flips) == (2, 1)
    assert row.largest == pytest.approx(1 / 8 / 2, rel=1e-4)


def test_an_exact_tie_counts_as_a_flip_without_an_error(scores):
    scores[1] = 0.0
    answer = scores.argmax(axis=1)[None].astype(np.int32)
    answer[0, 1] = 2
    row = judge(scores, answer)
    assert (row.flips, row.clear_flips) == (20, 0) and row.largest < 1e-30


def test_samples_on_another_axis_are_rejected(scores):
    with pytest.raises(ValueError, match="device returned"):
        judge(scores, scores.argmax(axis=1)[:, None])
