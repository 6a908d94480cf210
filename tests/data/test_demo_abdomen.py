"""The generated abdomens: reproducible, in MSD's layout, anatomically plausible, and not solved by a HU window."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from helpers.demo import abdomen
from helpers.errors import DataError

HELD_OUT_SEEDS = (9001, 9002)


@pytest.fixture(scope="module")
def cases() -> list:
    return [abdomen.generate_case(seed) for seed in HELD_OUT_SEEDS]


@pytest.fixture(scope="module")
def case(cases):
    return cases[0]


def best_window_dice(image: np.ndarray, truth: np.ndarray) -> float:
    """Every pair of integer HU limits by brute force."""
    values = np.clip(image, -200, 500) + 200
    everything = np.bincount(values.ravel(), minlength=701)
    hits = np.bincount(values[truth], minlength=701)
    best = 0.0
    for low in range(0, 700, 2):
        taken, hit = everything[low:].cumsum(), hits[low:].cumsum()
        best = max(best, float((2 * hit / (taken + truth.sum())).max()))
    return best


def test_the_same_seed_gives_the_same_bytes(case):
    again = abdomen.generate_case(HELD_OUT_SEEDS[0])
    assert again.image.tobytes() == case.image.tobytes()
    assert again.labels.tobytes() == case.labels.tobytes()
    assert again.spacing_mm == case.spacing_mm


def test_another_seed_gives_another_grid_and_liver(cases):
    first, second = cases
    assert first.spacing_mm != second.spacing_mm
    depth = min(len(first.labels), len(second.labels))
    mine, other = first.labels[:depth] > 0, second.labels[:depth] > 0
    assert 2 * (mine & other).sum() < 0.9 * (mine.sum() + other.sum())


def test_types_shapes_and_spacing(cases):
    for case in cases:
        assert case.image.dtype == np.int16 and case.labels.dtype == np.uint8
        assert case.image.shape == case.labels.shape and case.image.shape[1:] == (128, 128)
        assert set(np.unique(case.labels)) == {0, 1, 2}
        assert 3 <= case.spacing_mm[0] <= 5 and 2.6 <= case.spacing_mm[1] == case.spacing_mm[2] <= 3
        assert -1024 <= case.image.min() < -900 and 300 < case.image.max() < 1500


def test_liver_and_lesions_are_connected_and_of_realistic_size(cases):
    for case in cases:
        millilitres = np.prod(case.spacing_mm) / 1000
        whole, lesion = case.labels > 0, case.labels == 2
        assert 700 < whole.sum() * millilitres < 2600
        assert 5 < lesion.sum() * millilitres < 0.3 * whole.sum() * millilitres
        parts, _ = ndimage.label(whole)
        assert np.bincount(parts[whole]).max() > 0.97 * whole.sum()
        # The liver is on the patient's right: at small x, since x runs to the left.
        assert np.argwhere(whole)[:, 2].mean() < 0.45 * whole.shape[2]
        shell = ndimage.binary_dilation(lesion) & ~lesion
        assert (case.labels[shell] == 1).mean() > 0.6


def test_tissues_have_plausible_hounsfield_units(cases):
    for case in cases:
        inner = ndimage.binary_erosion(case.labels == 1, iterations=2)
        assert 60 < np.median(case.image[inner]) < 125
        assert 10 < case.image[inner].std() < 40
        corner = case.image[:, :4, :4]
        assert -1024 <= np.median(corner) < -950
        body = case.image[len(case.image) // 2]
        assert ((body > -130) & (body < -60)).mean() > 0.05  # fat
        assert (body > 200).sum() > 20  # bone


def test_no_window_of_hounsfield_units_finds_liver_or_lesion(cases):
    for case in cases:
        assert best_window_dice(case.image, case.labels == 1) <= 0.70
        assert best_window_dice(case.image, case.labels == 2) <= 0.40
        assert best_window_dice(case.image, case.labels > 0) <= 0.70


@pytest.fixture()
def quick(monkeypatch, case):
    made = []
    monkeypatch.setattr(abdomen, "generate_case", lambda seed: made.append(seed) or case)
    return made


def test_layout_index_and_geometry(tmp_path, case, quick):
    assert abdomen.write_demo_cases(tmp_path, [12, 7]) == ["liver_12", "liver_7"]
    folder = tmp_path / "Task03_Liver"
    assert sorted(p.name for p in folder.iterdir()) == ["dataset.json", "imagesTr", "labelsTr"]
    index = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    assert index["labels"] == {"0": "background", "1": "liver", "2": "cancer"}
    assert index["modality"] == {"0": "CT"} and index["numTraining"] == 2
    for entry in index["training"]:
        for part, array in (("image", case.image), ("label", case.labels)):
            image = sitk.ReadImage(str(folder / entry[part]))
            assert np.array_equal(sitk.GetArrayFromImage(image), array)
            assert image.GetSpacing() == pytest.approx(case.spacing_mm[::-1])
            assert image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)


def test_complete_cases_are_kept_and_incomplete_ones_rewritten(tmp_path, quick):
    abdomen.write_demo_cases(tmp_path, [1])
    abdomen.write_demo_cases(tmp_path, [1, 2])
    assert quick == [1, 2]
    (tmp_path / "Task03_Liver" / "labelsTr" / "liver_1.nii.gz").unlink()
    abdomen.write_demo_cases(tmp_path, [1])
    assert quick == [1, 2, 1]
    index = json.loads((tmp_path / "Task03_Liver" / "dataset.json").read_text(encoding="utf-8"))
    listed = [entry["image"] for entry in index["training"]]
    assert listed == ["./imagesTr/liver_1.nii.gz", "./imagesTr/liver_2.nii.gz"]


def test_a_failed_write_does_not_count_as_a_case(tmp_path, quick, monkeypatch):
    from helpers.demo import decathlon

    write = decathlon.write_volume

    def fail_for_images(path, volume):
        if path.parent.name == "imagesTr":
            raise DataError("cannot write", received="disk full")
        return write(path, volume)

    monkeypatch.setattr(decathlon, "write_volume", fail_for_images)
    with pytest.raises(DataError, match="disk full"):
        abdomen.write_demo_cases(tmp_path, [1])
    assert list((tmp_path / "Task03_Liver" / "imagesTr").iterdir()) == []
    monkeypatch.setattr(decathlon, "write_volume", write)
    abdomen.write_demo_cases(tmp_path, [1])
    assert quick == [1, 1]


def test_the_shipped_weights_fit_the_network_and_the_plan():
    from pathlib import Path

    from safetensors import safe_open
    from safetensors.torch import load_file

    from helpers.networks.unetpp import GenericUNetPlusPlus

    path = Path(abdomen.__file__).parents[1] / "weights" / "unetpp3d_liver_demo.safetensors"
    assert path.stat().st_size <= 2_000_000
    with safe_open(path, "np") as stream:
        metadata = stream.metadata()
    plans = json.loads(path.with_name("unetpp3d_liver_demo_plans.json").read_text(encoding="utf-8"))
    names = ("input_channels", "num_classes", "pool_op_kernel_sizes", "base_num_features")
    network = GenericUNetPlusPlus(**{name: json.loads(metadata[name]) for name in names})
    network.load_state_dict(load_file(path))
    settings = plans["configurations"]["3d_fullres"]
    assert settings["architecture"]["arch_kwargs"]["strides"][1:] == json.loads(metadata["pool_op_kernel_sizes"])
    assert all(side % 8 == 0 for side in settings["patch_size"])
