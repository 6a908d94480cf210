"""Figures as files: always small, reproducible, and with a record of where names are printed."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from helpers.data.geometry import Geometry
from helpers.view.figures import draw_gallery, draw_montage, draw_relief, draw_scores, save_figure
from helpers.view.figures.canvas import read_name_boxes, shrink_png
from helpers.view.palette import FALSE_NEGATIVE, rgb
from helpers.view.windows import GreyWindow

SHAPE = (12, 300, 300)
GREY = GreyWindow(title="CT", width=400, level=0)
NAMES = ("background", "organ")


def noisy_montage(noise: np.random.Generator, name: str = "case"):
    image = noise.normal(0, 120, SHAPE).astype(np.float32)
    mask = (noise.random(SHAPE) > 0.5).astype(np.uint8)
    geometry = Geometry.identity(SHAPE)
    return draw_montage(name, image, mask, 1 - mask, geometry=geometry, class_names=NAMES, window=GREY)


def noisy_gallery(noise: np.random.Generator, name: str = "case"):
    image = noise.integers(0, 256, (3, 900, 1200), np.uint8)
    mask = (noise.random((900, 1200)) > 0.5).astype(np.uint8)
    return draw_gallery(name, image, mask, 1 - mask, NAMES)


def noisy_relief(noise: np.random.Generator, name: str = "case"):
    mask = (noise.random(SHAPE) > 0.9).astype(np.uint8)
    return draw_relief(name, {"mask": mask, "truth": mask}, mask >= 0, geometry=Geometry.identity(SHAPE))


@pytest.mark.parametrize("draw", [noisy_montage, noisy_gallery, noisy_relief])
def test_a_noisy_picture_fits_and_stays_readable(tmp_path, draw):
    path = save_figure(draw(np.random.default_rng(0)), tmp_path / "noise.png")
    assert path.stat().st_size <= 300_000
    assert Image.open(path).size[0] >= 400


def test_a_small_picture_is_not_changed():
    smooth = Image.fromarray(np.add.outer(np.arange(200), np.arange(200)).astype(np.uint8))
    stream = io.BytesIO()
    smooth.save(stream, format="PNG")
    assert shrink_png(stream.getvalue(), 300_000) == stream.getvalue()


def test_a_few_coloured_pixels_in_noise_keep_their_colour():
    """A palette of the most frequent colours would turn a small error grey."""
    pixels = np.repeat(np.random.default_rng(1).integers(0, 256, (600, 600, 1)), 3, axis=2).astype(np.uint8)
    pink = tuple(round(255 * value) for value in rgb(FALSE_NEGATIVE))
    pixels[300:312, 300:312] = pink
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    small = shrink_png(stream.getvalue(), 150_000)
    shown = np.asarray(Image.open(io.BytesIO(small)).convert("RGB").resize((600, 600)))
    assert len(small) <= 150_000 < len(stream.getvalue())
    assert np.abs(shown[304:308, 304:308].astype(int) - pink).max() <= 16


@pytest.mark.parametrize("draw", [noisy_montage, noisy_gallery, noisy_relief])
def test_the_recorded_box_covers_the_whole_name(tmp_path, draw):
    """With two names of equal length, every pixel that differs is in the box."""
    pictures, boxes = [], None
    for name in ("MMMMMMMM", "XXXXXXXX"):
        path = save_figure(draw(np.random.default_rng(3), name), tmp_path / f"{name}.png")
        picture = Image.open(path)
        boxes = read_name_boxes(picture.text)
        pictures.append(np.asarray(picture.convert("RGB")).astype(int))
    assert len(boxes) == 1
    title = slice(0, boxes[0][3] + 4)
    left = slice(0, boxes[0][2])
    differs = np.abs(pictures[0][title, left] - pictures[1][title, left]).sum(axis=2) > 60
    x0, y0, x1, y1 = boxes[0]
    assert differs[y0:y1, x0:x1].any()
    differs[y0:y1, x0:x1] = False
    assert not differs.any()


def test_a_picture_without_names_records_none_and_a_foreign_one_records_nothing(tmp_path):
    path = save_figure(draw_scores({"a": {"WT": 0.5}}), tmp_path / "scores.png")
    assert read_name_boxes(Image.open(path).text) == []
    assert read_name_boxes({}) is None


def texts(figure) -> list[str]:
    import matplotlib.text

    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def test_scores_show_each_case_the_mean_and_the_number_of_cases():
    scores = {f"c{i}": {"WT": 0.6 + 0.01 * i, "ET": None if i else 0.3} for i in range(10)}
    figure = draw_scores(scores, {"WT": 0.7})
    shown = texts(figure)
    assert {"WT\nn = 10", "ET\nn = 1", "0.645", "0.300", "required mean"} <= set(shown)
    dots = figure.axes[0].collections[0].get_offsets()
    assert sorted(dots[:, 1]) == pytest.approx([row["WT"] for row in scores.values()])
