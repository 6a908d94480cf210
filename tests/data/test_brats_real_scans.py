"""Published BraTS scans are read, and defective variants of them refused."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from helpers.data import brats
from helpers.data.volume import read_volume
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


def with_label(reference_data, case: str, name: str):
    root = reference_data / "brats18-like" / "MICCAI_BraTS_2018_Data_Training"
    files = next(found for found in brats.list_brats_cases(root) if found.id == case)
    return dataclasses.replace(files, truth=reference_data / "robustness" / "label_variants" / name)


def test_a_real_label_on_another_grid_is_refused(reference_data):
    files = with_label(reference_data, "BraTS-GLI-00001-000", "GLI-00001_seg-BraTS23_1_mapped.nii.gz")
    with pytest.raises(DataError, match="grid"):
        brats.read_brats_case(files)


def test_a_real_label_stored_as_float64_is_read(reference_data):
    files = with_label(reference_data, "TCGA-DU-7294", "TCGA-DU-7294_lfb_rwth.nii.gz")
    truth = brats.read_brats_case(files).truth
    stored = read_volume(files.truth).array[0]
    assert stored.dtype == np.float64
    assert np.array_equal(truth, np.where(stored == 4, 3, stored)) and truth.any()
