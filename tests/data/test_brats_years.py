"""The names of a BraTS case say what its labels mean; its values never do."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.data import brats
from helpers.data.brats_years import CONVENTIONS, read_naming
from helpers.data.volume import read_volume, write_volume
from helpers.errors import DataError
from helpers.stages.data import digest_case
from tests.data.brats_cases import NAMES_2018, NAMES_2023, labels_of, only_case, write_case

OLD, NEW = NAMES_2018, NAMES_2023


@pytest.mark.parametrize(
    ("folder", "name", "names", "convention"),
    [
        ("x", "Brats17_TCIA_001_1", OLD, "2018"),
        ("x", "Brats18_2013_10_1", OLD, "2018"),
        ("x", "BraTS19_CBICA_AAB_1", OLD, "2018"),
        ("x", "BraTS20_Training_001", OLD, "2018"),
        ("x", "BraTS2021_00000", OLD, "2018"),
        ("BraTS2023_project", "BraTS2021_00000", OLD, "2018"),
        ("x", "BraTS-GLI-00005-000", NEW, "2023"),
        ("x", "BraTS-GLI-00005-001", NEW, "2023"),
        ("x", "BraTS-GLI-02405-100", NEW, "2024"),
        ("x", "BraTS-GLI-00463-101", NEW, "2024"),
        ("ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData", "BraTS-GLI-00005-000", NEW, "2023"),
        ("BraTS2024-BraTS-GLI-TrainingData", "BraTS-GLI-00005-000", NEW, "2024"),
        ("BraTS2025", "BraTS-MET-00110-000", NEW, "2024"),
        ("x", "BraTS-MEN-00008-000", NEW, "2023"),
        ("MICCAI_BraTS_2018_Data_Training", "BraTS-GLI-00001-000", OLD, "2018"),
        ("MICCAI_BraTS_2018_Data_Training/HGG", "TCGA-DU-7294", OLD, "2018"),
        ("RSNA_ASNR_MICCAI_BraTS2021_TrainingData_16July2021", "00123", OLD, "2018"),
        ("BRATS2015_Training", "pat17", OLD, "2013"),
        ("BraTS_export_2024-11-03", "pat17", OLD, "2018"),
        ("BraTS_01", "pat17", OLD, "2018"),
        ("x", "pat17", NEW, "2023"),
    ],
)
def test_names_of_files_and_folders_give_the_convention(tmp_path, folder, name, names, convention):
    write_case(tmp_path / folder / name, name, names, labels_of(1, 2))
    files = only_case(tmp_path)
    assert read_naming(files).convention == convention
    assert brats.read_brats_case(files).notes["convention"] == convention


def test_the_cavity_of_2024_is_said_and_neither_scored_nor_written_as_a_class(tmp_path):
    labels = labels_of(1, 2, 3, 4)
    write_case(tmp_path, "BraTS-GLI-02405-100", NEW, labels)
    case = brats.read_brats_case(only_case(tmp_path))
    assert np.array_equal(case.truth, np.where(labels == 4, 0, labels))
    cavity = np.count_nonzero(labels == 4)
    assert case.remarks == (
        "labels of BraTS 2024 and 2025, by the file names (visit 100)",
        f"resection cavity (label 4) {cavity} voxels: the network has no such class, they count as background",
    )
    path = write_volume(tmp_path / "mask.nii.gz", brats.volume_of_mask(labels_of(1, 2, 3), case))
    assert np.array_equal(read_volume(path).array[0], labels_of(1, 2, 3))
    with pytest.raises(DataError, match=r"a mask of BraTS 2024 and 2025 does not define: received \[4\]"):
        brats.mask_to_classes(path, labels, "2024")


def test_four_is_enhancing_tumour_in_2021(tmp_path):
    write_case(tmp_path, "BraTS2021_00000", OLD, labels_of(1, 2, 4))
    case = brats.read_brats_case(only_case(tmp_path))
    assert np.array_equal(case.truth, np.where(labels_of(1, 2, 4) == 4, 3, labels_of(1, 2, 4)))
    assert set(np.unique(brats.volume_of_mask(case.truth, case).array)) == {0, 1, 2, 4}


def test_non_enhancing_tumour_until_2016_is_merged_and_said(tmp_path):
    labels = labels_of(1, 2, 3, 4)
    write_case(tmp_path / "BRATS2015", "pat1", OLD, labels)
    case = brats.read_brats_case(only_case(tmp_path))
    assert np.array_equal(case.truth, np.array([0, 1, 2, 1, 3])[labels])
    assert "non-enhancing tumour (label 3) counts as necrotic core" in case.remarks[1]


@pytest.mark.parametrize(
    ("name", "names", "values", "said"),
    [
        ("Brats18_2013_2_1", OLD, (1, 2, 3), "labels that BraTS does not define in 2017 to 2022.*set label_year"),
        ("BraTS-GLI-00001-000", NEW, (1, 2, 4), "labels that BraTS does not define in 2023.*set label_year"),
        ("x", OLD, (1, 2, 3), "do not say which year's labels it has.*set label_year"),
        ("x", OLD, (1, 2, 3, 4), "do not say which year's labels it has"),
        ("x", NEW, (1, 2, 4), "do not say which year's labels it has"),
        ("BraTS-PED-00002-000", NEW, (1, 2, 3), "labels of BraTS-PED"),
    ],
)
def test_labels_that_the_names_contradict_or_leave_open_are_refused(tmp_path, name, names, values, said):
    write_case(tmp_path, name, names, labels_of(*values))
    with pytest.raises(DataError, match=f"(?i){said}"):
        brats.read_brats_case(only_case(tmp_path))


@pytest.mark.parametrize(("year", "enhancing"), [(2018, 4), (2023, 3), (2024, 3), (2013, 4)])
def test_label_year_decides_whatever_the_names_say(tmp_path, year, enhancing):
    labels = labels_of(1, 2, enhancing)
    write_case(tmp_path, "BraTS-PED-00002-000", NEW, labels)
    (files,) = brats.list_brats_cases(tmp_path, (), year)
    case = brats.read_brats_case(files, year)
    assert np.array_equal(case.truth == 3, labels == enhancing)
    assert np.array_equal(brats.volume_of_mask(case.truth, case).array[0], labels)


def test_the_folder_is_part_of_a_cases_digest_if_it_changes_what_labels_mean(tmp_path):
    for folder in ("BraTS2023", "BraTS2024", "BraTS2025", "x"):
        write_case(tmp_path / folder, "BraTS-GLI-00005-000", NEW, labels_of(1, 2))
    cases = {folder.name: only_case(folder) for folder in tmp_path.iterdir()}
    digests = {name: digest_case(files) for name, files in cases.items()}
    assert digests["BraTS2023"] == digests["x"] != digests["BraTS2024"] == digests["BraTS2025"]


def test_every_convention_writes_the_labels_that_it_reads():
    for convention in CONVENTIONS.values():
        assert [convention.classes[value] for value in convention.written] == [0, 1, 2, 3]


def test_the_folder_that_a_link_leads_to_may_name_the_year(tmp_path):
    write_case(tmp_path / "BraTS2024" / "pat1", "pat1", NEW, labels_of(1, 4))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").symlink_to(tmp_path / "BraTS2024" / "pat1")
    files = only_case(tmp_path / "data")
    assert read_naming(files).convention == "2024" and brats.read_brats_case(files).truth.max() == 1
