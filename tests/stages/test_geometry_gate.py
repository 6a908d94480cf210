"""A mask in the wrong place ends the run with the flip named; one that is merely moved is reported, not judged."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import stages
from helpers.errors import GateError


def change_masks(recipe, monkeypatch, change):
    read = type(recipe.cases).read_mask
    changed = lambda self, path, case: np.ascontiguousarray(change(read(self, path, case)))  # noqa: E731
    monkeypatch.setattr(type(recipe.cases), "read_mask", changed)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_planted_flip_is_named_in_the_error(run_pipeline, tmp_path, monkeypatch, axis):
    done = run_pipeline(tmp_path, until="infer", minimum_scores={}, simplify_timeout_s=0.01)
    change_masks(done.recipe, monkeypatch, lambda mask: np.flip(mask, axis))
    with pytest.raises(GateError, match=f"flipped along {'zyx'[axis]}"):
        stages.score_cases(done.recipe, done.run)


def test_swapped_axes_are_named_in_the_error(run_pipeline, tmp_path, monkeypatch):
    done = run_pipeline(tmp_path, until="infer", minimum_scores={}, simplify_timeout_s=0.01)
    change_masks(done.recipe, monkeypatch, lambda mask: mask.transpose(0, 2, 1))
    with pytest.raises(GateError, match="axes y and x swapped"):
        stages.score_cases(done.recipe, done.run)


def test_a_shift_is_not_reported_as_a_flip(run_pipeline, tmp_path, monkeypatch):
    done = run_pipeline(tmp_path, until="infer", minimum_scores={}, simplify_timeout_s=0.01)
    change_masks(done.recipe, monkeypatch, lambda mask: np.roll(mask, (5, 5, 5), (0, 1, 2)))
    scored = stages.score_cases(done.recipe, done.run)
    assert any("not a flip" in str(value) for value in scored.facts.values())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shift_of_half_the_volume_is_not_called_a_flip_in_the_error(run_pipeline, tmp_path, monkeypatch, axis):
    done = run_pipeline(tmp_path, until="infer", minimum_scores={"cube": 0.9}, simplify_timeout_s=0.01)
    change_masks(done.recipe, monkeypatch, lambda mask: np.roll(mask, mask.shape[axis] // 2, axis))
    with pytest.raises(GateError, match=r"cube over 3 cases.*not a flip \(shifted\)"):
        stages.score_cases(done.recipe, done.run)
