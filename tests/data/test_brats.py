"""BraTS cases of every year are found, checked, prepared by the published formula and written back as they came."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.data import brats
from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import DataError

SHAPE = (6, 8, 10)
GRID = Geometry(SHAPE, (1.0, 1.0, 1.0), (0.0, -239.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
NAMES_2018 = {role: f"_{role}" for role in (*brats.MODALITIES, "seg")}
NAMES_2023 = {"t1": "-t1n", "t1ce": "-t1c", "t2": "-t2w", "flair": "-t2f", "seg": "-seg"}


def write(path: Path, array: np.ndarray, geometry: Geometry = GRID) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_volume(path, Volume(array, geometry))


def labels_of(*values: int) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:4, 2:6, 3:8] = np.resize(values, (2, 4, 5))
    return labels


def write_case(
    folder: Path, name: str, names=NAMES_2018, labels=None, leave_out=(), suffix=".nii.gz", **arrays: np.ndarray
) -> Path:
    """Modality number m holds m + noise; the label is left out when there is none."""
    random = np.random.default_rng(0)
    for index, role in enumerate(brats.MODALITIES):
        array = arrays.get(role, (100 * index + random.random(SHAPE)).astype(np.float32))
        if role not in leave_out:
            write(folder / f"{name}{names[role]}{suffix}", array)
    if labels is not None:
        write(folder / f"{name}{names['seg']}{suffix}", labels)
    return folder


def only_case(root: Path):
    (case,) = brats.list_brats_cases(root)
    return case


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


def test_cases_come_sorted_from_all_folders_and_a_label_may_be_missing(tmp_path):
    write_case(tmp_path / "LGG" / "b", "b", labels=labels_of(1))
    write_case(tmp_path / "HGG" / "c", "c")
    write_case(tmp_path / "flat", "a")
    write_case(tmp_path / "flat", "d", NAMES_2023)
    cases = brats.list_brats_cases(tmp_path)
    assert [case.id for case in cases] == ["a", "b", "c", "d"]
    assert [case.truth is None for case in cases] == [True, False, True, True]
    assert brats.read_brats_case(cases[0]).truth is None


def test_hidden_files_are_no_data(tmp_path):
    write_case(tmp_path / "x", "x")
    for path in list((tmp_path / "x").iterdir()):
        path.with_name(f"._{path.name}").write_bytes(b"what a Mac leaves behind")
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


def test_two_cases_of_one_name_are_refused(tmp_path):
    write_case(tmp_path / "HGG" / "x", "x")
    write_case(tmp_path / "LGG" / "x", "x")
    with pytest.raises(DataError, match="two cases are called x"):
        brats.list_brats_cases(tmp_path)


def test_a_folder_without_cases_says_what_was_looked_for(tmp_path):
    write(tmp_path / "volume.nii.gz", labels_of(1))
    with pytest.raises(DataError, match=r"no BraTS case below.*_flair\.nii\.gz"):
        brats.list_brats_cases(tmp_path)


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
    with pytest.raises(DataError, match=f"{role} lies on another grid than t1.*{next(iter(change)).split('_')[0]}"):
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
        (NAMES_2018, (1, 2, 3), "2023"),
        (NAMES_2023, (1, 2, 3), "2023"),
        (NAMES_2023, (1, 2, 4), "2018"),
        (NAMES_2018, (1, 2), "2018"),
        (NAMES_2023, (1, 2), "2023"),
        (NAMES_2018, (0,), "2018"),
        (NAMES_2018, (4,), "2018"),
    ],
)
def test_label_conventions_are_told_apart_and_kept_on_writing(tmp_path, names, values, convention):
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


def test_without_labels_the_files_names_tell_the_convention(tmp_path):
    write_case(tmp_path / "old", "old")
    write_case(tmp_path / "new", "new", NAMES_2023)
    conventions = {c.id: brats.read_brats_case(c).notes["convention"] for c in brats.list_brats_cases(tmp_path)}
    assert conventions == {"old": "2018", "new": "2023"}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (labels_of(1, 2, 4).astype(np.float64), "stores labels as float64"),
        (labels_of(1, 2, 5), r"received \[0, 1, 2, 5\]"),
        (labels_of(1, 2, 3, 4), r"received \[0, 1, 2, 3, 4\]"),
        (labels_of(1, 2).astype(np.int16) * -1, "not BraTS"),
    ],
    ids=["float64", "unknown", "both years", "negative"],
)
def test_labels_that_are_not_brats_are_refused(tmp_path, labels, said):
    write_case(tmp_path, "x", labels=labels)
    with pytest.raises(DataError, match=said):
        brats.read_brats_case(only_case(tmp_path))


def test_preparation_is_the_published_formula():
    image = np.random.default_rng(4).gamma(2.0, 50.0, (4, 20, 21, 22)).astype(np.float32)
    image[:, :8] = 0
    prepared = brats.prepare_brats(image)
    assert prepared.dtype == np.float32
    for channel, ours in zip(image, prepared, strict=True):
        values = torch.from_numpy(channel).double()
        low, high = np.percentile(channel.astype(np.float64), [0.1, 99.8])
        clipped = values.clamp(low, high)
        expected = (clipped - clipped.mean()) / clipped.std()  # unbiased, over the whole volume
        np.testing.assert_allclose(ours, expected.numpy(), atol=1e-5)
        assert ours.max() < (channel.max() - channel.mean()) / channel.std()  # the clip did something


def test_preparation_of_a_constant_modality_is_zero_and_finite():
    prepared = brats.prepare_brats(np.full((4, 3, 3, 3), 7, np.float32))
    assert np.array_equal(prepared, np.zeros((4, 3, 3, 3)))


def test_the_brain_is_what_is_not_exactly_zero():
    image = np.zeros((4, 10, 11, 12), np.float32)
    image[0, 3, 4, 5] = -1e-6  # interpolation makes negatives inside the brain
    image[2, 6, 9, 2] = 4
    assert brats.brain_box(image) == (slice(3, 7), slice(4, 10), slice(2, 6))
    assert brats.brain_box(np.zeros((4, 2, 3, 4))) == (slice(0, 2), slice(0, 3), slice(0, 4))


def test_crops_follow_the_seed_and_hold_tumour():
    truths = [np.zeros((30, 30, 30), np.uint8) for _ in range(3)]
    truths[0][20:23, 5:8, 14] = 2
    truths[2][1, 1, 1] = 3
    crops = brats.draw_crops(truths, 40, 8, 1)
    assert crops == brats.draw_crops(truths, 40, 8, 1)
    assert crops != brats.draw_crops(truths, 40, 8, 2)
    assert len(crops) == 40 and {index for index, _ in crops} == {0, 2}
    for index, start in crops:
        assert all(0 <= first <= 22 for first in start)
        assert truths[index][tuple(slice(first, first + 8) for first in start)].any()


def test_crops_of_volumes_smaller_than_the_crop_start_at_zero():
    truth = np.zeros((4, 30, 8), np.uint8)
    truth[2, 15, 3] = 1
    for _, (z, y, x) in brats.draw_crops([truth], 10, 8, 0):
        assert (z, x) == (0, 0) and 8 <= y <= 15


def test_crops_reach_the_last_voxel():
    truth = np.zeros((9, 9, 9), np.uint8)
    truth[8, 8, 8] = 1
    assert {start for _, start in brats.draw_crops([truth], 3, 8, 0)} == {(1, 1, 1)}


def test_crops_without_any_tumour_are_refused():
    with pytest.raises(DataError, match="without any tumour"):
        brats.draw_crops([np.zeros((9, 9, 9), np.uint8)], 3, 8, 0)


@pytest.fixture
def reference_data() -> Path:
    root = os.environ.get("COOKBOOK_DATA")
    if not root:
        pytest.skip("COOKBOOK_DATA names no folder of reference data")
    return Path(root)


def test_four_real_scans_that_were_not_registered_are_refused(reference_data, tmp_path):
    source = reference_data / "robustness" / "native_not_coregistered"
    for theirs, ours in (("t1", "t1"), ("t1c", "t1ce"), ("t2", "t2"), ("fla", "flair")):
        shutil.copy(source / f"TCGA-FG-6692_{theirs}.nii.gz", tmp_path / f"TCGA-FG-6692_{ours}.nii.gz")
    with pytest.raises(DataError, match="lies on another grid than t1") as refusal:
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
