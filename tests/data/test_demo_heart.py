"""The generated hearts: reproducible, in MSD's layout, anatomically plausible, and not solved by a threshold."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from helpers.demo import heart
from helpers.demo.heart import build_chest
from helpers.demo.shapes import (
    bend_points,
    blend,
    ellipsoid_level,
    make_points,
    rotate_points,
    soft_edge,
    tube_level,
)

HELD_OUT_SEEDS = (9001, 9002)


@pytest.fixture(scope="module")
def cases() -> list:
    return [heart.generate_case(seed) for seed in HELD_OUT_SEEDS]


def test_the_same_seed_gives_the_same_bytes(cases):
    again = heart.generate_case(HELD_OUT_SEEDS[0])
    assert again.image.tobytes() == cases[0].image.tobytes()
    assert again.labels.tobytes() == cases[0].labels.tobytes()


def test_another_seed_gives_another_grid_and_contrast(cases):
    first, second = cases
    assert first.spacing_mm != second.spacing_mm
    assert np.median(first.image) != np.median(second.image)


def test_types_shapes_and_spacing(cases):
    for case in cases:
        assert case.image.dtype == np.int16 and case.labels.dtype == np.uint8
        assert case.image.shape == case.labels.shape
        assert 40 <= case.image.shape[0] <= 64
        assert all(136 <= side <= 168 for side in case.image.shape[1:])
        assert 1.4 <= case.spacing_mm[0] <= 2.7 and case.spacing_mm[1:] == (1.25, 1.25)
        assert set(np.unique(case.labels)) == {0, 1}
        assert case.image.min() >= 0


def test_the_atrium_is_connected_and_of_realistic_size_with_veins_on_both_sides(cases):
    for case in cases:
        atrium = case.labels > 0
        millilitres = atrium.sum() * np.prod(case.spacing_mm) / 1000
        assert 35 < millilitres < 180
        parts, _ = ndimage.label(atrium)
        assert np.bincount(parts[atrium]).max() > 0.97 * atrium.sum()
        # Opening removes the veins and the appendage, so both sides lose voxels.
        body = ndimage.binary_opening(atrium, iterations=6)
        middle = np.argwhere(body)[:, 2].mean()
        thin = np.argwhere(atrium & ~body)[:, 2]
        assert 0.1 < (thin < middle).mean() < 0.9


def test_blood_is_bright_and_healthy_muscle_is_nulled():
    rng = np.random.Generator(np.random.PCG64(5))
    size, spacing = (44, 144, 152), (2.4, 1.25, 1.25)
    chest = build_chest(size, spacing, rng)
    picture = heart._paint(chest, rng)
    blood = np.median(picture[chest.atrium > 3])
    muscle = np.median(picture[(chest.levels["lv_wall"] > 2) & (chest.levels["lv"] < -2)])
    lung = np.median(picture[(chest.levels["inner"] > 5) & (chest.levels["pericardium"] < -9) & (picture < 0.3)])
    assert blood > 2.5 * muscle
    assert lung < muscle
    # Veins beyond the label are as bright as the atrium, so that the label's end has to be learned.
    beyond = (chest.levels["veins"] > 1.5) & (chest.atrium < -3)
    assert beyond.any() and np.median(picture[beyond]) > 0.7 * blood


def test_no_window_of_intensities_finds_the_atrium(cases):
    for case in cases:
        values = np.minimum(case.image.astype(int) * 400 // int(np.percentile(case.image, 99.9)), 400)
        everything = np.bincount(values.ravel(), minlength=401)
        hits = np.bincount(values[case.labels > 0], minlength=401)
        total = hits.sum()
        lower = range(400)
        best = max(float((2 * hits[k:].cumsum() / (everything[k:].cumsum() + total)).max()) for k in lower)
        assert best <= 0.65


def test_layout_index_and_geometry(tmp_path, cases, monkeypatch):
    monkeypatch.setattr(heart, "generate_case", lambda seed: cases[0])
    assert heart.write_demo_cases(tmp_path, [3, 120]) == ["la_003", "la_120"]
    folder = tmp_path / "Task02_Heart"
    index = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    assert index["labels"] == {"0": "background", "1": "left atrium"} and index["modality"] == {"0": "MRI"}
    assert index["training"][0] == {"image": "./imagesTr/la_003.nii.gz", "label": "./labelsTr/la_003.nii.gz"}
    image, label = (sitk.ReadImage(str(folder / part / "la_003.nii.gz")) for part in ("imagesTr", "labelsTr"))
    assert np.array_equal(sitk.GetArrayFromImage(image), cases[0].image)
    assert np.array_equal(sitk.GetArrayFromImage(label), cases[0].labels)
    assert image.GetSpacing() == pytest.approx(cases[0].spacing_mm[::-1])
    assert image.GetOrigin() == label.GetOrigin()


def test_a_balls_level_is_the_distance_to_its_surface():
    points = make_points((21, 31, 41), (2.0, 1.0, 1.0))
    level = ellipsoid_level(points, (3, -2, 1), (9, 9, 9))
    offset = points - np.array([3, -2, 1]).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(level, 9 - np.sqrt((offset**2).sum(0)), atol=1e-4)
    assert points[:, 10, 15, 20].tolist() == [0, 0, 0]
    assert points[0, 1, 0, 0] - points[0, 0, 0, 0] == 2.0


def test_a_tubes_level_is_the_distance_to_its_axis_near_it():
    points = make_points((41, 31, 31), (1.0, 1.0, 1.0))
    level = tube_level(points, [(-50, 2, 0), (0, 2, 0), (50, 2, 0)], [6, 6, 6])
    expected = 6 - np.hypot(points[1] - 2, points[2])
    near = expected > -5
    np.testing.assert_allclose(level[near], expected[near], atol=1e-4)
    cone = tube_level(points, [(-20, 0, 0), (20, 0, 0)], [2, 8])
    assert cone[20, 15, 15] == pytest.approx(5, abs=1e-4)


def test_rotation_keeps_lengths_and_bending_has_the_given_strength():
    points = make_points((20, 24, 28), (2.0, 2.0, 2.0))
    turned = rotate_points(points, (0.3, -0.2, 0.5))
    np.testing.assert_allclose(np.linalg.norm(turned, axis=0), np.linalg.norm(points, axis=0), rtol=1e-4, atol=1e-3)
    quarter = rotate_points(points, (np.pi / 2, 0, 0))
    np.testing.assert_allclose(quarter[1], -points[2], atol=1e-4)
    moved = bend_points(points, np.random.default_rng(0), [(3.0, 4.0)]) - points
    assert moved.std() == pytest.approx(3, rel=0.25)


def test_soft_edges_are_half_at_the_surface():
    assert soft_edge(np.array([-9.0, 0.0, 9.0], np.float32), 2).tolist() == [0, 0.5, 1]
    picture = np.array([10, 10, 10], np.float32)
    blend(picture, np.array([-9.0, 0.0, 9.0], np.float32), 20, 2)
    assert picture.tolist() == [10, 15, 20]


def test_the_shipped_weights_fit_the_network_and_the_plan():
    from pathlib import Path

    from safetensors import safe_open
    from safetensors.torch import load_file

    from helpers.networks.nnunet import GenericUNet

    path = Path(heart.__file__).parents[1] / "weights" / "nnunet_heart_demo.safetensors"
    assert path.stat().st_size <= 2_000_000
    with safe_open(path, "np") as stream:
        metadata = stream.metadata()
    plans = json.loads(path.with_name("nnunet_heart_demo_plans.json").read_text(encoding="utf-8"))
    names = ("input_channels", "num_classes", "pool_op_kernel_sizes", "base_num_features", "max_num_features")
    network = GenericUNet(**{name: json.loads(metadata[name]) for name in names})
    network.load_state_dict(load_file(path))
    arguments = plans["configurations"]["2d"]["architecture"]["arch_kwargs"]
    assert arguments["features_per_stage"] == [12, 24, 48, 52, 52, 52]
    assert plans["configurations"]["2d"]["spacing"] == [1.25, 1.25]
