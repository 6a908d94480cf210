"""Drawn cars: reproducible, in Carvana's layout, and not solved by a threshold."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from helpers.data.carvana import list_carvana_cases, prepare_image, prepare_mask, read_carvana_case
from helpers.demo.car_model import CarBody, car_faces
from helpers.demo.cars import SIZE_PX, case_id, generate_image, write_demo_cases

SEEDS = range(8)


@pytest.fixture(scope="module")
def cases():
    return [generate_image(seed) for seed in SEEDS]


def test_the_seed_determines_the_picture(cases):
    image, mask = generate_image(SEEDS[3])
    np.testing.assert_array_equal(image, cases[3][0])
    np.testing.assert_array_equal(mask, cases[3][1])
    assert len({image.tobytes() for image, _ in cases}) == len(cases)


def test_dark_rooms_change_the_room_and_not_the_car(cases):
    darker = [generate_image(seed, dark_share=1.0) for seed in SEEDS[:3]]
    for (image, mask), (bright, bright_mask) in zip(darker, cases[:3], strict=True):
        np.testing.assert_array_equal(mask, bright_mask)
        assert image[:, mask == 0].mean() < 0.8 * bright[:, mask == 0].mean()


def test_pictures_and_masks_have_their_shapes_and_values(cases):
    width, height = SIZE_PX
    for image, mask in cases:
        assert (image.shape, image.dtype) == ((3, height, width), np.uint8)
        assert (mask.shape, mask.dtype) == ((height, width), np.uint8)
        assert set(np.unique(mask)) == {0, 1}


def test_each_picture_shows_one_complete_car_of_plausible_size(cases):
    for _, mask in cases:
        parts, _ = ndimage.label(mask)
        assert np.bincount(parts.ravel())[1:].max() > 0.999 * mask.sum()
        assert 0.04 < mask.mean() < 0.5
        assert mask[0].sum() + mask[-1].sum() == 0


def test_pixel_values_change_at_the_outline_of_the_mask(cases):
    for image, mask in cases:
        steep = ndimage.gaussian_gradient_magnitude(image.mean(axis=0), 1)
        edge = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)
        shifted = [np.roll(edge, step, axis) for axis in (0, 1) for step in (-4, 4)]
        assert steep[edge].mean() > 1.1 * max(steep[place].mean() for place in shifted)


def test_no_threshold_of_one_channel_finds_the_cars(cases):
    # The best threshold for all pictures, in either direction, chosen with knowledge of the masks.
    best = 0.0
    for name in ("red", "green", "blue", "gray", "saturation", "distance"):
        above, below = np.zeros(257), np.zeros(257)
        for image, mask in cases:
            values = np.uint8(channel_of(image, name))
            inside, chosen = counts_below(values[mask > 0]), counts_below(values.ravel())
            below += inside / (chosen + mask.sum() - inside)
            above += (mask.sum() - inside) / (mask.size - chosen + inside)
        best = max(best, above.max() / len(cases), below.max() / len(cases))
    assert best < 0.6


def counts_below(values):
    return np.append(0, np.cumsum(np.bincount(values, minlength=256)))


def channel_of(image, name):
    image = image.astype(np.float64)
    if name == "gray":
        return image.mean(axis=0)
    if name == "saturation":
        return 255 * (1 - image.min(axis=0) / np.maximum(image.max(axis=0), 1))
    if name == "distance":
        rows, columns = image[:, [0, -1]].mean(axis=(1, 2)), image[:, :, [0, -1]].mean(axis=(1, 2))
        return np.sqrt(np.mean((image - (rows + columns)[:, None, None] / 2) ** 2, axis=0))
    return image[("red", "green", "blue").index(name)]


def test_car_is_symmetric_and_stands_on_the_ground():
    car = CarBody(np.random.default_rng(1))
    left, right = (car_faces(car, np.array([1.0, side * 8.0, 2.0])) for side in (1, -1))
    for faces in (left, right):
        points = np.concatenate([face.points for face in faces])
        assert points[:, 2].min() == pytest.approx(0, abs=0.01)
        assert 0.95 * car.length < np.ptp(points[:, 0]) < 1.05 * car.length
        assert points[:, 2].max() < 1.05 * car.height
    assert len(left) == len(right)


def test_case_ids_are_carvanas_and_follow_the_view():
    ids = [case_id(seed) for seed in range(200)]
    assert len(set(ids)) == 200
    assert all(re.fullmatch(r"[0-9a-f]{12}_(0[1-9]|1[0-6])", name) for name in ids)
    assert len({name[-2:] for name in ids}) == 16


def test_side_views_are_wider_than_front_views():
    seeds = {view: [s for s in range(200) if case_id(s).endswith(view)][:2] for view in ("_01", "_05")}
    widths = {
        view: np.mean([np.ptp(np.flatnonzero(generate_image(seed)[1].any(axis=0))) for seed in chosen])
        for view, chosen in seeds.items()
    }
    assert widths["_05"] > 1.5 * widths["_01"]


def test_written_cases_are_read_back(tmp_path, cases):
    ids = write_demo_cases(tmp_path, SEEDS[:2])
    assert ids == [case_id(seed) for seed in SEEDS[:2]]
    found = list_carvana_cases(tmp_path)
    assert [case.id for case in found] == sorted(ids)
    for files in found:
        case = read_carvana_case(files)
        original, truth = cases[ids.index(files.id)]
        np.testing.assert_array_equal(np.array(Image.open(files.truth).convert("L")), 255 * truth)
        np.testing.assert_array_equal(case.truth, truth)
        assert np.abs(case.image.astype(int) - original).mean() < 4  # the loss of JPEG
        assert prepare_image(case.image).shape == (3, *prepare_mask(case.truth).shape)
