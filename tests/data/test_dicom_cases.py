"""Folders of DICOM files are cases of every recipe of volumes, in the layouts in which they arrive."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.data.brats import MODALITIES, list_brats_cases, list_dicom_cases, read_brats_case
from helpers.data.case_volumes import series_by_role, with_reading
from helpers.data.nnunet.cases import list_cases, read_case
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import DataError, ParameterError
from helpers.run.digest import digest_path
from tests.data.dicom_files import write_series

OTHER_UID = "1.2.826.0.1.3680043.2.1125.77"


@pytest.mark.parametrize("below", ["", "study/series"])
def test_subfolders_of_dicom_files_are_cases_of_nnunet_with_labels_next_to_them(tmp_path, below):
    for name in ("la_1", "la_2"):
        folder = tmp_path / "imagesTr" / name / below
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_series(folder)
    volume = read_volume(tmp_path / "imagesTr" / "la_1" / below)
    (tmp_path / "labelsTr").mkdir()
    write_volume(tmp_path / "labelsTr" / "la_1.nii.gz", Volume((volume.array > 20).astype(np.uint8), volume.geometry))
    cases = list_cases(tmp_path)
    assert [case.id for case in cases] == ["la_1", "la_2"]
    case = read_case(cases[0])
    assert np.array_equal(case.image, volume.array) and case.geometry == volume.geometry
    assert case.require_truth().sum() == (volume.array > 20).sum()
    assert cases[1].truth is None


def test_a_data_root_of_dicom_files_is_one_case(tmp_path):
    write_series(tmp_path / "patient")
    (case,) = list_cases(tmp_path / "patient")
    assert case.id == "patient" and read_case(case).image.shape == (1, 6, 6, 8)


def test_channels_may_be_folders(tmp_path):
    for channel in ("0000", "0001"):
        write_series(tmp_path / f"p_{channel}")
    (case,) = list_cases(tmp_path, n_channels=2)
    assert case.id == "p" and read_case(case).image.shape == (2, 6, 6, 8)


def test_a_series_is_chosen_from_several_folders_of_one_case(tmp_path):
    write_series(tmp_path / "patient" / "study" / "ct", tags={"0008|103e": "CT"})
    write_series(tmp_path / "patient" / "study" / "mr", 4, tags={"0008|103e": "MR", "0020|000e": OTHER_UID})
    (case,) = list_cases(tmp_path)
    with pytest.raises(DataError, match=r"patient does not contain exactly one.*2 series.*CT, 6 images.*MR, 4"):
        read_case(case)
    (chosen,) = with_reading([case], "MR", False)
    assert read_case(chosen).image.shape[1] == 4
    before = digest_path(case.files["0000"])
    (tmp_path / "patient" / "study" / "mr" / "00.dcm").unlink()
    assert digest_path(case.files["0000"]) != before


def test_two_folders_of_slices_at_one_position_are_refused(tmp_path):
    for name in ("ct", "mr"):
        write_series(tmp_path / "patient" / name, planes=[np.full((1, 6, 8), ord(name[0]), np.int16)] * 6)
    with pytest.raises(DataError, match=r"two images at one position: ct/00\.dcm and mr/00\.dcm"):
        read_case(list_cases(tmp_path)[0])


def test_a_series_in_several_folders_is_one(tmp_path):
    for part in range(3):
        write_series(
            tmp_path / "p" / f"DIR{part}", positions=[(-3, -4, 2.5 * (2 * part + i)) for i in (0, 1)], first=2 * part
        )
    case = read_case(list_cases(tmp_path)[0])
    assert case.image.shape[1] == 6 and case.require_geometry().spacing_mm_zyx[0] == 2.5


def test_the_series_of_a_run_is_read_and_is_part_of_the_case(tmp_path):
    folder = write_series(tmp_path / "p", tags={"0008|103e": "portal venous"})
    write_series(folder, 4, tags={"0008|103e": "arterial", "0020|000e": OTHER_UID}, first=50)
    cases = list_cases(tmp_path)
    with pytest.raises(DataError, match="2 series"):
        read_case(cases[0])
    (chosen,) = with_reading(cases, "arterial", False)
    assert chosen.notes == {"series": "arterial"} and read_case(chosen).image.shape[1] == 4
    assert with_reading(cases, "", False) == cases


def test_a_series_without_dicom_folders_is_refused(tmp_path):
    volume = read_volume(write_series(tmp_path / "series"))
    (tmp_path / "data").mkdir()
    write_volume(tmp_path / "data" / "a.nii.gz", volume)
    with pytest.raises(DataError, match="no case is a folder of DICOM files"):
        with_reading(list_cases(tmp_path / "data"), "arterial", False)


def test_modalities_of_brats_may_be_folders(tmp_path):
    for number, role in enumerate(MODALITIES):
        (tmp_path / "p1").mkdir(exist_ok=True)
        write_series(tmp_path / "p1" / f"p1_{role}", planes=[np.full((1, 6, 8), number, np.int16)] * 6)
    (case,) = list_brats_cases(tmp_path)
    assert case.id == "p1"
    np.testing.assert_array_equal(read_brats_case(case).image[:, 0, 0, 0], [0, 1, 2, 3])


def write_contrasts(folder, roles):
    """A study of one folder per series, of which each has its number as its voxels."""
    for number, role in enumerate(roles):
        tags = {"0008|103e": f"AX {role.upper()}", "0020|000e": f"{OTHER_UID}.{number}"}
        write_series(
            folder / f"S{number}", planes=[np.full((1, 6, 8), number, np.int16)] * 6, tags=tags, first=10 * number
        )


def test_the_modalities_of_brats_may_be_series_of_one_folder(tmp_path):
    write_contrasts(tmp_path / "p1", [*reversed(MODALITIES), "localizer"])
    with pytest.raises(DataError, match=r"no BraTS cases .*-p series 't1 = "):
        list_brats_cases(tmp_path)
    volume = read_volume(tmp_path / "p1", series="AX T1")
    write_volume(tmp_path / "p1_seg.nii.gz", Volume((volume.array * 0 + 4).astype(np.uint8), volume.geometry))
    with pytest.raises(DataError, match=r"lacks t1, .*-p series 't1 = "):
        list_brats_cases(tmp_path)
    series = f"t1 = AX T1; t1ce=ax t1ce; t2 = {OTHER_UID}.1 ; flair = AX FLAIR"
    (case,) = with_reading(list_dicom_cases(tmp_path), series, False)
    read = read_brats_case(case)
    np.testing.assert_array_equal(read.image[:, 0, 0, 0], [3, 2, 1, 0])
    assert (read.require_truth() == 3).all()
    with pytest.raises(DataError, match="no DICOM folder of p2"):
        list_dicom_cases(tmp_path, ["p2"])


def test_the_channels_of_nnunet_may_be_series_of_one_folder(tmp_path):
    write_contrasts(tmp_path / "p1", ["t2", "t1"])
    series = "0000 = AX T1; 0001 = AX T2"
    (case,) = with_reading(list_cases(tmp_path, n_channels=2, series=series), series, False)
    np.testing.assert_array_equal(read_case(case).image[:, 0, 0, 0], [1, 0])
    with pytest.raises(DataError, match="lacks channels"):
        list_cases(tmp_path, n_channels=2)


@pytest.mark.parametrize(
    "series", ["t1 = A; t2 =", "t1 = A", "t1 = A; t2 = B; t3 = C", "t1 = A; t1 = B; t2 = C", "t1 = A; B"]
)
def test_a_series_for_some_images_only_is_refused(series):
    with pytest.raises(ParameterError, match="series does not name one series for each image"):
        series_by_role(series, ("t1", "t2"))


def test_the_digest_of_a_folder_follows_names_and_contents(tmp_path):
    folder = write_series(tmp_path / "p")
    before = digest_path(folder)
    assert digest_path(folder) == before
    content = (folder / "03.dcm").read_bytes()
    (folder / "03.dcm").write_bytes(content[:-1] + b"x")
    assert digest_path(folder) != before
    (folder / "03.dcm").write_bytes(content)
    assert digest_path(folder) == before
    (folder / "06.dcm").write_bytes(content)
    assert digest_path(folder) != before
