"""Files of a data set are found behind links and with any case of suffix; what is left out is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.data import brats
from helpers.data.files import find_files, one_file_each
from helpers.errors import DataError
from tests.data.brats_cases import NAMES_2018, labels_of, write_case


def test_links_to_folders_are_followed_beside_real_folders(tmp_path):
    write_case(tmp_path / "store" / "b", "b", labels=labels_of(1))
    write_case(tmp_path / "data" / "HGG" / "a", "a", labels=labels_of(1))
    (tmp_path / "data" / "HGG" / "b").symlink_to(tmp_path / "store" / "b")
    assert [case.id for case in brats.list_brats_cases(tmp_path / "data")] == ["a", "b"]
    (tmp_path / "links").symlink_to(tmp_path / "data")
    assert [case.id for case in brats.list_brats_cases(tmp_path / "links")] == ["a", "b"]
    assert brats.skipped_files(tmp_path / "data") == []


def test_links_to_files_are_read_and_broken_ones_said(tmp_path):
    write_case(tmp_path / "store", "a", labels=labels_of(1))
    folder = tmp_path / "data"
    folder.mkdir()
    for path in (tmp_path / "store").iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "a_seg.nii.gz").unlink()
    (folder / "a_seg.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    with pytest.raises(DataError, match=r"a_seg\.nii\.gz is a broken link to .*gone\.nii\.gz"):
        brats.list_brats_cases(folder)
    (folder / "a_seg.nii.gz").unlink()
    (folder / "notes").symlink_to(tmp_path / "gone.txt")
    assert [case.truth for case in brats.list_brats_cases(folder)] == [None]
    assert "notes is a broken link" in brats.skipped_files(folder)[0]


def test_a_folder_that_is_reached_twice_is_read_once(tmp_path):
    write_case(tmp_path / "real" / "a", "a")
    (tmp_path / "aaa").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "circle").symlink_to(tmp_path)
    assert [case.id for case in brats.list_brats_cases(tmp_path)] == ["a"]
    said = find_files(tmp_path).skipped
    assert len(said) == 2 and all("which is read already" in line for line in said)


def test_upper_and_lower_case_suffixes_live_side_by_side(tmp_path):
    write_case(tmp_path, "lower")
    write_case(tmp_path, "upper")
    for path in list(tmp_path.glob("upper_*")):
        path.rename(path.with_name(path.name.replace(".nii.gz", ".NII.GZ")))
    assert [case.id for case in brats.list_brats_cases(tmp_path)] == ["lower", "upper"]


def test_two_files_for_one_modality_are_refused(tmp_path):
    write_case(tmp_path, "a")
    write_case(tmp_path, "a", suffix=".nrrd", leave_out=("t1", "t1ce", "t2"))
    with pytest.raises(DataError, match=r"two files for the role of case a, flair.*a_flair\.nii\.gz and .*\.nrrd"):
        brats.list_brats_cases(tmp_path)


def test_volumes_of_no_known_role_are_said(tmp_path):
    names = {**NAMES_2018, "seg": "_Segm"}
    write_case(tmp_path, "a", names, labels_of(1))
    assert brats.list_brats_cases(tmp_path)[0].truth is None
    assert brats.skipped_files(tmp_path) == ["1 volume is not named as a modality or a seg: a_Segm.nii.gz"]


@pytest.mark.parametrize("name", ["a[1]", "a*", "what?", "[!x]", "{a,b}"])
def test_characters_of_patterns_are_ordinary_in_names(tmp_path, name):
    root = tmp_path / f"root {name}"
    write_case(root / name, name, labels=labels_of(1))
    (case,) = brats.list_brats_cases(root, [name])
    assert case.id == name and brats.read_brats_case(case).truth.any()


def test_one_file_each_names_both():
    with pytest.raises(DataError, match=r"two files for the image a: received .*a\.nii\.gz and .*a\.nrrd"):
        one_file_each([("a", Path("x/a.nii.gz")), ("b", Path("x/b.nrrd")), ("a", Path("x/a.nrrd"))], "image")
