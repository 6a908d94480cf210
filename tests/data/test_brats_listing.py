"""BraTS cases of every year are found, and missing or duplicate ones are named."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.data import brats
from helpers.errors import DataError
from tests.data.brats_cases import GRID, NAMES_2018, NAMES_2023, SHAPE, labels_of, only_case, write, write_case


@pytest.mark.parametrize(
    ("name", "names", "suffix"),
    [
        ("Brats18_2013_2_1", NAMES_2018, ".nii.gz"),
        ("BraTS20_Training_001", NAMES_2018, ".nii"),
        ("BraTS2021_00000", NAMES_2018, ".nii.gz"),
        ("BraTS-GLI-00001-000", NAMES_2023, ".nii.gz"),
        ("a_t1_b", NAMES_2018, ".nii.gz"),
        ("upper", {role: f"_{role.upper()}" for role in NAMES_2018}, ".nii.gz"),
    ],
)
def test_names_of_every_year_give_the_modalities_in_the_networks_order(tmp_path, name, names, suffix):
    write_case(tmp_path / "HGG" / name, name, names, labels_of(1, 2), suffix=suffix)
    files = only_case(tmp_path)
    assert files.id == name
    assert list(files.files) == ["t1", "t1ce", "t2", "flair"]
    case = brats.read_brats_case(files)
    assert case.image.shape == (4, *SHAPE) and case.image.dtype == np.float32 and case.image.flags.c_contiguous
    assert [int(channel.mean()) // 100 for channel in case.image] == [0, 1, 2, 3]
    assert case.geometry.differences_from(GRID) == []
    assert np.array_equal(case.truth, labels_of(1, 2)) and case.truth.dtype == np.uint8


def test_cases_of_all_folders_are_sorted_and_may_lack_a_label(tmp_path):
    write_case(tmp_path / "LGG" / "b", "b", labels=labels_of(1))
    write_case(tmp_path / "HGG" / "c", "c")
    write_case(tmp_path / "flat", "a")
    write_case(tmp_path / "flat", "d", NAMES_2023)
    cases = brats.list_brats_cases(tmp_path)
    assert [case.id for case in cases] == ["a", "b", "c", "d"]
    assert [case.truth is None for case in cases] == [True, False, True, True]
    assert brats.read_brats_case(cases[0]).truth is None


def test_hidden_files_are_ignored(tmp_path):
    write_case(tmp_path / "x", "x")
    for path in list((tmp_path / "x").iterdir()):
        path.with_name(f"._{path.name}").write_bytes(b"left by a file manager")
    (tmp_path / "x" / ".part-abc_t1.nii.gz").write_bytes(b"half a volume")
    assert only_case(tmp_path).id == "x"


def test_a_missing_modality_is_named_with_its_case(tmp_path):
    write_case(tmp_path / "good", "good")
    write_case(tmp_path / "bad", "bad", leave_out=["t1ce", "flair"])
    with pytest.raises(DataError, match="case bad lacks t1ce, flair"):
        brats.list_brats_cases(tmp_path)
    assert [case.id for case in brats.list_brats_cases(tmp_path, ["good"])] == ["good"]
    with pytest.raises(DataError, match="case bad lacks"):
        brats.list_brats_cases(tmp_path, ["bad"])


def test_two_cases_with_one_id_are_refused(tmp_path):
    write_case(tmp_path / "HGG" / "x", "x")
    write_case(tmp_path / "LGG" / "x", "x")
    with pytest.raises(DataError, match="two cases have the id x"):
        brats.list_brats_cases(tmp_path)


def test_a_folder_without_cases_names_the_expected_files(tmp_path):
    write(tmp_path / "volume.nii.gz", labels_of(1))
    with pytest.raises(DataError, match=r"no BraTS cases below.*_flair\.nii\.gz"):
        brats.list_brats_cases(tmp_path)
