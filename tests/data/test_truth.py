"""Values of a truth: whole within a tolerance, and known to the model."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from helpers.data.truth import ROUNDING, TruthValues, check_any_class, check_known, class_indices, whole_labels
from helpers.errors import DataError

FILE = Path("case_seg.nii.gz")
KNOWN = TruthValues({0: "background", 1: "left atrium"})


@pytest.mark.parametrize("off", [-ROUNDING, -1e-4, 1e-7, 0.9 * ROUNDING])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_next_to_whole_numbers_are_rounded_and_the_log_says_so(caplog, off, dtype):
    labels = (np.array([[0, 1], [2, 250]]) + off / (1 + 1e-3)).astype(dtype)
    with caplog.at_level(logging.INFO, logger="cookbook"):
        assert whole_labels(FILE, labels).tolist() == [[0, 1], [2, 250]]
    assert "case_seg.nii.gz: labels rounded" in caplog.text


@pytest.mark.parametrize("value", [0.5, 1 - 2 * ROUNDING, 1.01, np.nan, np.inf, 1e12])
def test_values_further_away_are_refused(value):
    with pytest.raises(DataError, match=r"case_seg\.nii\.gz holds values that are not class .*0\.001"):
        whole_labels(FILE, np.array([0.0, 1.0, value]))


def test_integers_are_not_touched(caplog):
    labels = np.array([0, 3], np.int16)
    assert whole_labels(FILE, labels) is labels and not caplog.records
    assert class_indices(FILE, labels).dtype == np.uint8
    for bad in ([-1, 0], [0, 256]):
        with pytest.raises(DataError, match="integers from 0 to 255"):
            class_indices(FILE, np.array(bad))


def counts_of(*values: int) -> np.ndarray:
    return np.bincount(np.array(values))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0, 255), r"received 255 \(in the file: 0, 255\), expected 0 background, 1 left atrium.*divide it by 255"),
        ((0, 1, 5), r"received 5 \(in the file: 0, 1, 5\).*leave the case out"),
        ((2,), r"received 2 \(in the file: 2\)"),
    ],
)
def test_values_that_the_model_does_not_know_are_named_with_the_file(values, said):
    with pytest.raises(DataError, match=rf"case_seg\.nii\.gz holds values that the model does not know: {said}"):
        check_known(FILE, counts_of(*values), KNOWN)


def test_the_ignored_value_is_known():
    known = TruthValues({index: f"class {index}" for index in range(21)}, ignored=(255,))
    check_known(FILE, counts_of(0, 20, 255), known)
    with pytest.raises(DataError, match=r"expected 0 class 0, 1 class 1, 2 class 2, …, 20 class 20, 255 \(ignored\)"):
        check_known(FILE, counts_of(0, 21, 255), known)


def test_masks_of_0_and_255_are_not_taken_for_ignored_pixels():
    known = TruthValues({0: "background", 1: "car"}, ignored=(255,))
    check_any_class(FILE, [{0, 255}, {0, 1}], known)
    check_any_class(FILE, [{0}, {0}], known)
    with pytest.raises(DataError, match=r"no truth holds a class.*2 files, such as case_seg.*convert 255"):
        check_any_class(FILE, [{0, 255}, {0}], known)
