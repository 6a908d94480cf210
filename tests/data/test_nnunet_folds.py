"""The folds are those of scikit-learn, and hold out the cases that the published models did not see."""

from __future__ import annotations

import pytest

from helpers.data.nnunet.splits import split_fold
from helpers.errors import DataError

# Numbers of the 27 cases that the published UNet++ sample scores, and of all 20 cases of the heart task.
LIVER_FOLD_0 = (3, 5, 11, 12, 17, 19, 24, 25, 27, 38, 40, 41, 42, 44, 51, 52, 58, 64, 70, 75, 77, 82)
LIVER_FOLD_0 += (101, 112, 115, 120, 128)
HEART_IDS = (3, 4, 5, 7, 9, 10, 11, 14, 16, 17, 18, 19, 20, 21, 22, 23, 24, 26, 29, 30)


@pytest.mark.parametrize("count", [5, 6, 20, 41, 131])
def test_folds_are_those_of_scikit_learn(count):
    selection = pytest.importorskip("sklearn.model_selection")
    ids = [f"case_{index}" for index in range(count)]
    ordered = sorted(ids)
    folds = selection.KFold(5, shuffle=True, random_state=12345).split(ordered)
    for fold, (training, held_out) in enumerate(folds):
        expected = ([ordered[i] for i in training], [ordered[i] for i in held_out])
        assert split_fold(reversed(ids), fold) == expected


def test_held_out_liver_cases_are_the_published_ones():
    _, held_out = split_fold([f"liver_{index}" for index in range(131)], 0)
    assert held_out == sorted(f"liver_{number}" for number in LIVER_FOLD_0)


def test_held_out_heart_cases_are_the_published_ones():
    _, held_out = split_fold([f"la_{index:03}" for index in HEART_IDS], 0)
    assert held_out == ["la_007", "la_016", "la_021", "la_024"]


@pytest.mark.parametrize(("count", "fold"), [(4, 0), (20, 5), (20, -1)])
def test_impossible_splits_are_refused(count, fold):
    with pytest.raises(DataError, match=f"fold {fold} of {count} cases"):
        split_fold([f"case_{index}" for index in range(count)], fold)
