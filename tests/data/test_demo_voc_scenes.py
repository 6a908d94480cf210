"""Demo scenes are reproducible, valid VOC cases, and their objects cannot be found by colour."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.data.voc import CLASSES, IGNORE_INDEX, list_voc_cases, read_voc_case
from helpers.demo.voc_scenes import OBJECTS, SCENE_CLASSES, SIZES, generate_scene, lookalike, write_demo_cases

SEEDS = range(7000, 7024)


@pytest.fixture(scope="module")
def scenes():
    return [generate_scene(seed) for seed in SEEDS]


def test_the_seed_determines_the_scene(scenes):
    again = generate_scene(SEEDS[0])
    assert (again.image == scenes[0].image).all() and (again.label == scenes[0].label).all()
    assert len({scene.image.tobytes() for scene in scenes}) == len(SEEDS)


def test_scenes_have_vocs_sizes_types_and_classes(scenes):
    seen = set()
    for scene in scenes:
        height, width = scene.label.shape
        assert (width, height) in SIZES
        assert scene.image.shape == (height, width, 3)
        assert scene.image.dtype == scene.label.dtype == np.uint8
        seen |= set(np.unique(scene.label).tolist())
    assert seen == {*SCENE_CLASSES, IGNORE_INDEX}
    assert len(SCENE_CLASSES) >= 6 and max(SCENE_CLASSES) < len(CLASSES)


def test_every_scene_has_an_object_and_most_have_several(scenes):
    counts = [len(set(np.unique(scene.label)) - {0, IGNORE_INDEX}) for scene in scenes]
    assert min(counts) >= 1 and np.mean(counts) > 2


def test_an_ignored_band_separates_every_object_from_its_surroundings(scenes):
    for scene in scenes:
        label = scene.label.astype(int)
        for a, b in ((label[:, :-1], label[:, 1:]), (label[:-1], label[1:])):
            counted = (a != IGNORE_INDEX) & (b != IGNORE_INDEX)
            assert (a[counted] == b[counted]).all()
        assert 0.005 < np.mean(label == IGNORE_INDEX) < 0.12


@pytest.mark.parametrize("outline", [outline for _, outline, _ in OBJECTS] + [lookalike])
def test_outlines_stay_in_the_unit_frame_and_vary(outline):
    shapes = [outline(np.random.default_rng(seed)) for seed in range(20)]
    points = [np.concatenate([part for part, _ in shape]) for shape in shapes]
    assert all(np.abs(p).max() <= 1.15 for p in points)
    assert all(paint in {"body", "shade", "glass", "dark", "accent"} for s in shapes for _, paint in s)
    assert len({p.tobytes() for p in points}) > 12  # there are few kinds of look-alikes


def test_mean_colour_does_not_distinguish_the_classes(scenes):
    means, numbers = [], []
    for scene in scenes:
        for number in SCENE_CLASSES[1:]:
            inside = scene.label == number
            if inside.sum() > 500:
                means.append(scene.image[inside].mean(axis=0))
                numbers.append(number)
    means, numbers = np.array(means), np.array(numbers)
    distances = np.linalg.norm(means[:, None] - means[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = numbers[distances.argmin(axis=1)] == numbers
    assert nearest.mean() < 0.4  # seven classes: chance is about 0.14


def test_written_cases_are_voc_cases(tmp_path):
    ids = write_demo_cases(tmp_path, [3, 1])
    assert ids == ("2012_000003", "2012_000001")
    cases = list_voc_cases(tmp_path)
    assert tuple(case.id for case in cases) == ids
    for files, seed in zip(cases, (3, 1), strict=True):
        case, scene = read_voc_case(files), generate_scene(seed)
        assert (case.truth == scene.label).all()
        assert np.abs(case.image.astype(int) - scene.image.transpose(2, 0, 1)).mean() < 4  # JPEG
    assert not list(tmp_path.rglob(".part-*"))
