"""Published BraTS scans are read, and defective variants of them refused."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from helpers.data import brats
from helpers.errors import DataError
from tests.data.brats_cases import only_case


def test_four_real_scans_that_were_not_registered_are_refused(reference_data, tmp_path):
    source = reference_data / "robustness" / "native_not_coregistered"
    for theirs, ours in (("t1", "t1"), ("t1c", "t1ce"), ("t2", "t2"), ("fla", "flair")):
        shutil.copy(source / f"TCGA-FG-6692_{theirs}.nii.gz", tmp_path / f"TCGA-FG-6692_{ours}.nii.gz")
    with pytest.raises(DataError, match="is on another grid than t1") as refusal:
        brats.read_brats_case(only_case(tmp_path))
    assert "size" in str(refusal.value) or "origin" in str(refusal.value)


def test_real_cases_are_found_in_training_and_validation_folders(reference_data):
    training = brats.list_brats_cases(reference_data / "brats18-like" / "MICCAI_BraTS_2018_Data_Training")
    assert [case.id for case in training] == ["BraTS-GLI-00001-000", "TCGA-DU-7294"]
    assert all(case.truth for case in training)
    (other,) = brats.list_brats_cases(reference_data / "brats18-like" / "MICCAI_BraTS_2018_Data_Validation")
    assert other.truth is None
    patches = brats.list_brats_cases(reference_data / "brats20-patches")
    assert len(patches) == 22
    case = brats.read_brats_case(patches[0])
    assert case.image.shape[0] == 4 and case.truth.any()


@pytest.mark.parametrize(
    ("name", "said"),
    [("GLI-00001_seg-BraTS23_1_mapped.nii.gz", "grid|float64"), ("TCGA-DU-7294_lfb_rwth.nii.gz", "grid|float64")],
)
def test_real_labels_in_float64_are_refused(reference_data, tmp_path, name, said):
    case = "BraTS-GLI-00001-000" if "GLI" in name else "TCGA-DU-7294"
    root = reference_data / "brats18-like" / "MICCAI_BraTS_2018_Data_Training"
    files = next(found for found in brats.list_brats_cases(root) if found.id == case)
    files = dataclasses.replace(files, truth=reference_data / "robustness" / "label_variants" / name)
    with pytest.raises(DataError, match=said):
        brats.read_brats_case(files)
