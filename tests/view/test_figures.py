"""Figures are small files, show the slices that matter, and name the patient's sides correctly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from helpers.data.geometry import Geometry
from helpers.view.figures import draw_montage, draw_relief, draw_stage_times, find_body, save_figure
from helpers.view.figures.cases import pick_slices
from helpers.view.orientation import axis_letters
from helpers.view.windows import GreyWindow

SHAPE = (24, 60, 50)
MR = GreyWindow(title="MR", percentiles=(0.5, 99.5))
NAMES = ("background", "core", "oedema", "enhancing")
SHOWN = {"class_names": NAMES, "window": MR}


def volume(shape=SHAPE):
    """A textured ball as the body, a truth inside it, and a prediction with most of its errors in one slice."""
    z, y, x = np.ogrid[tuple(slice(-1, 1, side * 1j) if side > 1 else slice(0, 1, 1j) for side in shape)]
    radius = np.sqrt(z**2 + y**2 + x**2)
    texture = gaussian_filter(np.random.default_rng(0).standard_normal(shape), 3, mode="wrap")
    image = (100 + 600 * texture).clip(1).astype(np.float32) * (radius < 0.95)
    truth = (radius < 0.5).astype(np.uint8) * 2
    truth[radius < 0.3] = 3
    prediction = truth.copy()
    prediction[shape[0] // 3] = 1
    return image, prediction, truth


def size_of(path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def texts(figure) -> list[str]:
    import matplotlib.text

    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


@pytest.mark.parametrize("shape", [SHAPE, (1, 60, 50), (3, 20, 90), (155, 240, 240)])
def test_a_montage_is_one_small_png(tmp_path, shape):
    image, prediction, truth = volume(shape)
    figure = draw_montage("case 1", image, prediction, truth, geometry=Geometry.identity(shape), **SHOWN)
    path = save_figure(figure, tmp_path / "new" / "montage.png")
    assert path.stat().st_size <= 300_000
    width, height = size_of(path)
    assert 800 <= width <= 1100 and 150 <= height <= 1600


def test_a_montage_without_a_truth_shows_neither_truth_nor_errors():
    image, prediction, _ = volume()
    shown = texts(draw_montage("c", image, prediction, None, geometry=Geometry.identity(SHAPE), **SHOWN))
    assert "image" in shown and "prediction" in shown
    assert not {"truth", "errors", "missed"} & set(shown)


def test_a_montage_names_its_slices_scores_and_classes():
    image, prediction, truth = volume()
    figure = draw_montage(
        "c",
        image,
        prediction,
        truth,
        geometry=Geometry.identity(SHAPE),
        **SHOWN,
        scores={"WT": 0.5, "ET": None},
    )
    shown = texts(figure)
    assert "slice 8, most error" in shown and "slice 12, most foreground" in shown
    assert any(text.startswith("WT 0.500") and "MR: grey" in text and "ET" not in text for text in shown)
    assert {"core", "oedema", "enhancing", "missed"} <= set(shown) and "background" not in shown


def test_equal_pictures_are_equal_bytes(tmp_path):
    image, prediction, truth = volume()
    paths = []
    for name in ("a", "b"):
        figure = draw_montage("c", image, prediction, truth, geometry=Geometry.identity(SHAPE), **SHOWN)
        paths.append(save_figure(figure, tmp_path / f"{name}.png"))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_pixels_have_the_aspect_of_voxels():
    image, prediction, truth = volume()
    geometry = Geometry.identity(SHAPE, (5.0, 2.0, 0.5))
    figure = draw_montage("c", image, prediction, truth, geometry=geometry, **SHOWN)
    assert {axis.get_aspect() for axis in figure.axes} == {4.0}


@pytest.mark.parametrize("most", [0, 5, 19])
def test_the_first_slice_has_the_most_error(most):
    truth = np.zeros((20, 8, 8), np.uint8)
    truth[9:11, :4] = 1
    prediction = truth.copy()
    prediction[most, :, 6:] = 2
    prediction[12, 0, 0] = 1
    (first, why), (second, also) = pick_slices(prediction, truth)
    assert (first, why) == (most, "most error")
    assert also == "most foreground" and second in (9, 10)


def test_without_a_truth_slices_have_the_most_foreground_and_are_apart():
    prediction = np.zeros((20, 8, 8), np.uint8)
    prediction[6:9, :6] = 1
    prediction[7] = 1
    prediction[15, :2] = 3
    assert pick_slices(prediction, None) == [(7, "most foreground"), (15, "most foreground")]


def test_a_perfect_prediction_has_no_slice_of_most_error():
    truth = np.zeros((20, 8, 8), np.uint8)
    truth[5] = 1
    picks = pick_slices(truth, truth)
    assert picks[0] == (5, "most foreground")
    assert all("error" not in why for _, why in picks)


@pytest.mark.parametrize("depth", [1, 2, 4, 5])
def test_a_thin_volume_shows_no_slice_twice(depth):
    truth = np.ones((depth, 4, 4), np.uint8)
    picks = pick_slices(np.zeros_like(truth), truth)
    assert 1 <= len(picks) <= 2
    assert len({index for index, _ in picks}) == len(picks)


def test_an_empty_mask_is_not_called_foreground():
    empty = np.zeros((9, 4, 4), np.uint8)
    assert all(why == "no foreground" for _, why in pick_slices(empty, None))


IDENTITY = (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)
FLIPPED = (-1.0, 0, 0, 0, -1.0, 0, 0, 0, -1.0)
SAGITTAL = (0, 0, 1.0, 1.0, 0, 0, 0, -1.0, 0)  # x runs to the back, y to the feet, z to the left
OBLIQUE = (0.9, -0.436, 0.0, 0.436, 0.9, 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("direction", "letters"),
    [
        (IDENTITY, {"x": ("R", "L"), "y": ("A", "P"), "z": ("I", "S")}),
        (FLIPPED, {"x": ("L", "R"), "y": ("P", "A"), "z": ("S", "I")}),
        (SAGITTAL, {"x": ("A", "P"), "y": ("S", "I"), "z": ("R", "L")}),
        (OBLIQUE, {"x": ("R", "L"), "y": ("A", "P"), "z": ("I", "S")}),
    ],
)
def test_axis_letters_name_the_patients_sides(direction, letters):
    assert axis_letters(direction) == letters


@pytest.mark.parametrize(("direction", "left", "right"), [(IDENTITY, "R", "L"), (FLIPPED, "L", "R")])
def test_a_montage_writes_the_letters_on_their_sides(direction, left, right):
    image, prediction, truth = volume()
    geometry = dataclasses.replace(Geometry.identity(SHAPE), direction=direction)
    figure = draw_montage("c", image, prediction, truth, geometry=geometry, **SHOWN)
    across = sorted((text.get_position()[0], text.get_text()) for text in figure.axes[0].texts)
    assert (across[0][1], across[-1][1]) == (left, right)


@pytest.mark.parametrize("shape", [SHAPE, (1, 60, 50), (155, 120, 120)])
def test_a_relief_is_one_small_png(tmp_path, shape):
    image, prediction, truth = volume(shape)
    masks = {"truth": truth, "prediction": prediction, "empty": np.zeros(shape, np.uint8)}
    figure = draw_relief("c", masks, image != 0, geometry=Geometry.identity(shape, (3.0, 1.0, 1.0)))
    path = save_figure(figure, tmp_path / "relief.png")
    assert path.stat().st_size <= 300_000
    assert {"truth", "prediction", "empty"} <= set(texts(figure))


@pytest.mark.parametrize(
    ("direction", "views"),
    [
        (IDENTITY, ["from the front", "from the right", "from above"]),
        (FLIPPED, ["from the back", "from the left", "from below"]),
    ],
)
def test_a_relief_names_the_side_it_is_seen_from(direction, views):
    _, prediction, _ = volume()
    geometry = dataclasses.replace(Geometry.identity(SHAPE), direction=direction)
    figure = draw_relief("c", {"mask": prediction}, prediction > 0, geometry=geometry)
    assert [axis.get_title() for axis in figure.axes] == views


def test_a_body_is_brighter_than_air_unless_it_fills_the_field_of_view():
    image, _, _ = volume()
    body = find_body(image, 0.5)
    assert np.array_equal(body, image > 0.5)
    assert find_body(image + 100, 0.5) is None  # filled to the sides
    assert find_body(image * 0, 0.5) is None
    whole = np.zeros((9, 40, 40), np.float32)
    whole[:, 5:-5, 5:-5] = 1  # a trunk reaches the first and the last slice
    assert find_body(whole, 0.5) is not None


def test_without_a_body_a_relief_shows_the_masks_larger():
    mask = np.zeros((40, 80, 80), np.uint8)
    mask[18:22, 35:45, 35:45] = 1
    shown = [
        draw_relief("c", {"mask": mask}, body, geometry=Geometry.identity(mask.shape)).axes[0].images[0].get_array()
        for body in (np.ones_like(mask, bool), None)
    ]
    assert [picture.shape[:2] for picture in shown] == [(40, 80), (28, 34)]  # 12 mm around 4 by 10


def test_a_relief_shows_what_is_in_front():
    from helpers.view.figures.relief import _render
    from helpers.view.palette import label_colour, rgb

    mask = np.zeros((20, 20, 20), np.uint8)
    mask[5:15, 2:4, 5:15] = 1  # y small: towards the front
    picture, aspect = _render(mask, np.zeros_like(mask, bool), 1, False, (4.0, 1.0, 2.0))
    assert picture.shape == (20, 20, 3) and aspect == 2.0
    assert np.array_equal(picture[0, 0], [1, 1, 1])
    # A quarter of the white background shows through.
    shade, colour = picture[10, 10] - 0.25, np.array(rgb(label_colour(1)))
    np.testing.assert_allclose(shade / shade.max(), colour / colour.max(), atol=1e-6)


def test_stage_times_are_bars_of_their_seconds(tmp_path):
    figure = draw_stage_times({"export": 1.25, "infer": 20.0})
    assert [bar.get_width() for bar in figure.axes[0].patches] == [1.25, 20.0]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["export", "infer"]
    assert {" 1.2 s", " 20.0 s"} <= set(texts(figure))
    assert save_figure(figure, tmp_path / "times.png").stat().st_size <= 300_000
