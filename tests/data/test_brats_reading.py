"""Grids, voxels and labels of a BraTS case are checked; a mask is written back in the labels' convention."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from helpers.data import brats
from helpers.data.volume import read_volume, write_volume
from helpers.errors import DataError
from tests.data.brats_cases import GRID, NAMES_2018, NAMES_2023, SHAPE, labels_of, only_case, write, write_case


@pytest.mark.parametrize("role", ["t1ce", "t2", "flair", "seg"])
@pytest.mark.parametrize(
    "change",
    [
        {"origin_mm_xyz": (0.0, -238.0, 0.0)},
        {"spacing_mm_zyx": (1.0, 1.0, 1.01)},
        {"direction": (-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)},
        {"size_zyx": (6, 8, 9)},
    ],
    ids=["origin", "spacing", "direction", "size"],
)
def test_a_role_on_another_grid_is_named(tmp_path, role, change):
    write_case(tmp_path, "x", labels=labels_of(1))
    geometry = dataclasses.replace(GRID, **change)
    write(tmp_path / f"x_{role}.nii.gz", np.zeros(geometry.size_zyx, np.uint8), geometry)
    with pytest.raises(DataError, match=f"{role} is on another grid than t1.*{next(iter(change)).split('_')[0]}"):
        brats.read_brats_case(only_case(tmp_path))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_not_finite_are_counted_and_refused(tmp_path, value):
    bad = np.ones(SHAPE, np.float32)
    bad[1, 2, 3:5] = value
    write_case(tmp_path, "x", t2=bad)
    with pytest.raises(DataError, match=r"x_t2\.nii\.gz has voxels that are NaN or infinite: received 2 voxels"):
        brats.read_brats_case(only_case(tmp_path))


@pytest.mark.parametrize(
    ("names", "values", "convention"),
    [
        (NAMES_2018, (1, 2, 4), "2018"),
        (NAMES_2023, (1, 2, 3), "2023"),
        (NAMES_2018, (1, 2), "2018"),
        (NAMES_2023, (1, 2), "2023"),
        (NAMES_2018, (0,), "2018"),
        (NAMES_2018, (4,), "2018"),
    ],
)
def test_label_conventions_are_recognised_and_kept_on_writing(tmp_path, names, values, convention):
    labels = labels_of(*values)
    write_case(tmp_path, "x", names, labels)
    case = brats.read_brats_case(only_case(tmp_path))
    assert case.notes["convention"] == convention
    enhancing = 4 if convention == "2018" else 3
    assert np.array_equal(case.truth == 3, labels == enhancing)
    assert np.array_equal(case.truth == 1, labels == 1) and np.array_equal(case.truth == 2, labels == 2)
    written = write_volume(tmp_path / "mask.nii.gz", brats.volume_of_mask(case.truth, case))
    back = read_volume(written)
    assert np.array_equal(back.array[0], labels) and back.array.dtype == np.uint8
    assert back.geometry.differences_from(GRID) == []
    assert np.array_equal(brats.brats_to_classes(back.array[0], convention), case.truth)


def test_without_labels_file_names_decide_the_convention(tmp_path):
    write_case(tmp_path / "old", "old")
    write_case(tmp_path / "new", "new", NAMES_2023)
    conventions = {c.id: brats.read_brats_case(c).notes["convention"] for c in brats.list_brats_cases(tmp_path)}
    assert conventions == {"old": "2018", "new": "2023"}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (labels_of(1, 2, 4) * 0.75, r"holds values that are not class indices: received 0\.75, 1\.5, expected whole"),
        (labels_of(1, 2, 5), r"received \[0, 1, 2, 5\]"),
        (labels_of(1, 2, 3, 4), r"received \[0, 1, 2, 3, 4\]"),
        (labels_of(1, 2).astype(np.int16) * -1, "BraTS does not define"),
    ],
    ids=["fractions", "unknown", "both years", "negative"],
)
def test_labels_that_brats_does_not_have_are_refused(tmp_path, labels, said):
    write_case(tmp_path, "x", labels=labels)
    with pytest.raises(DataError, match=said):
        brats.read_brats_case(only_case(tmp_path))
