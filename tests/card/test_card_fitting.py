"""Sizes, orientations and intensities against Pillow, nibabel, SciPy and formulas; labels come back."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from helpers.card.fitting import CardFitting, LabelRule, Orientation, crop_window, resize_volume
from helpers.card.intensity import apply_steps
from helpers.card.reading import parse_card
from helpers.card.schema import IntensityStep
from helpers.data.case import Case
from helpers.data.geometry import Geometry
from helpers.errors import DataError
from helpers.inference import infer_job
from helpers.inference.predictor import CallablePredictor
from tests.card import small_models as small


def fitting(kind: str, size: tuple[int, ...], **preparation: object) -> CardFitting:
    files = "{case}.nii.gz" if kind == "volume" else "{case}.png"
    data = {"kind": kind, "files": files, "truth": None}
    card = parse_card(small.card_of("m.onnx", data=data, preparation=preparation), "card.yaml")
    return CardFitting(card, size, LabelRule(1, 0.5, (1,)), 1)


def identity(batch: np.ndarray) -> np.ndarray:
    """A network whose score is its first channel."""
    return batch[:, :1]


def segment(fit: CardFitting, case: Case) -> np.ndarray:
    job = fit.prepare(case)
    return job.restore(infer_job(job.image, CallablePredictor(identity), job.plan))


def picture(size=(40, 60)) -> tuple[Case, np.ndarray]:
    truth = np.zeros(size, np.uint8)
    truth[8:30, 12:44] = 1
    return Case("p", np.repeat(truth[None] * np.uint8(255), 3, axis=0), truth, None), truth


RANGE = [{"range": [0, 255]}]


@pytest.mark.parametrize(
    "preparation",
    [
        {"fit": "resize"},
        {"fit": "letterbox"},
        {"fit": "letterbox", "anchor": "top_left"},
        {"fit": "letterbox", "axes": "xyz"},
        {"fit": "window", "tile_step_size": 0.5},
        {"fit": "window", "axes": "xyz"},
    ],
    ids=str,
)
def test_a_picture_comes_back_where_it_was(preparation):
    case, truth = picture()
    labels = segment(fitting("picture", (32, 48), intensity=RANGE, **preparation), case)
    assert labels.shape == truth.shape
    assert 2 * np.count_nonzero(labels & truth) / (labels.sum() + truth.sum()) > 0.95


@pytest.mark.parametrize("anchor", ["centre", "top_left"])
def test_a_padded_picture_comes_back_exactly_and_a_larger_one_is_refused(anchor):
    case, truth = picture()
    made = fitting("picture", (64, 64), intensity=RANGE, fit="pad", anchor=anchor, pad_value=-3.0)
    assert np.array_equal(segment(made, case), truth)
    assert made.prepare(case).image.min() == -3
    with pytest.raises(DataError, match="larger than the network's input"):
        fitting("picture", (32, 64), fit="pad").prepare(case)


@pytest.mark.parametrize(("name", "method"), [("linear", "BILINEAR"), ("cubic", "BICUBIC"), ("nearest", "NEAREST")])
def test_pictures_are_resized_as_pillow_does(name, method):
    random = np.random.default_rng(0)
    pixels = random.uniform(0, 3, (1, 40, 60)).astype(np.float32)
    made = fitting("picture", (16, 24), fit="resize", interpolation=name, intensity=[])
    wanted = Image.fromarray(pixels[0]).resize((24, 16), Image.Resampling[method])
    assert np.array_equal(made.prepare(Case("p", pixels, None, None)).image[0], np.asarray(wanted))


def test_scores_of_a_quarter_of_the_size_are_enough_for_a_picture():
    case, truth = picture()
    fit = fitting("picture", (64, 96), intensity=RANGE, fit="letterbox")
    job = fit.prepare(case)
    quarter = CallablePredictor(lambda batch: np.ascontiguousarray(batch[:, :1, ::4, ::4]))
    labels = job.restore(infer_job(job.image, quarter, job.plan))
    assert 2 * np.count_nonzero(labels & truth) / (labels.sum() + truth.sum()) > 0.85


def test_bgr_reverses_the_channels():
    pixels = np.stack([np.full((8, 8), value, np.uint8) for value in (10, 20, 30)])
    made = fitting("picture", (8, 8), fit="resize")
    bgr = made.card.data.model_copy(update={"colour": "bgr"})
    card = made.card.model_copy(update={"data": bgr})
    image = CardFitting(card, (8, 8), made.rule, 1).prepare(Case("p", pixels, None, None)).image
    assert image[:, 0, 0] == pytest.approx([30 / 255, 20 / 255, 10 / 255])


TILTED = Geometry((10, 14, 12), (3.0, 1.0, 2.0), (5.0, -7.0, 2.0), (0, 1, 0, 0, 0, -1, 1, 0, 0))


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SPR", "AIL"])
@pytest.mark.parametrize("grid", [Geometry.identity((10, 14, 12)), TILTED])
def test_directions_are_those_of_nibabel(axes, grid):
    array = np.random.default_rng(0).random((1, *grid.size_zyx)).astype(np.float32)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine_lps()
    image = nib.Nifti1Image(array[0].transpose(2, 1, 0), affine)
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(axes)))
    wanted = image.as_reoriented(turn)
    view = Orientation.of(grid, axes)
    assert np.array_equal(view.turn(array)[0], np.asarray(wanted.dataobj))
    assert np.array_equal(view.undo(view.turn(array)), array)
    assert np.allclose(view.spacing(grid), wanted.header.get_zooms())


@pytest.mark.parametrize(
    "preparation",
    [
        {"fit": "window", "size": [8, 8, 8]},
        {"fit": "window", "size": [8, 8, 8], "axes": "RAS"},
        {"fit": "window", "size": [8, 8]},
        {"fit": "pad", "size": [16, 16, 16], "axes": "xyz"},
    ],
    ids=str,
)
def test_a_volume_comes_back_exactly(preparation):
    truth = np.zeros(TILTED.size_zyx, np.uint8)
    truth[2:7, 3:9, 4:11] = 1
    case = Case("v", truth[None].astype(np.float32), truth, TILTED)
    size = tuple(preparation.pop("size"))
    assert np.array_equal(segment(fitting("volume", size, intensity=[], **preparation), case), truth)


@pytest.mark.parametrize(
    "preparation", [{"fit": "resize"}, {"fit": "window", "spacing_mm": [1.0, 1.0, 1.0]}], ids=str
)
def test_a_resampled_volume_comes_back_where_it_was(preparation):
    grid = Geometry.identity((20, 30, 26), (2.0, 1.0, 1.0))
    truth = np.zeros(grid.size_zyx, np.uint8)
    truth[5:14, 8:22, 6:19] = 1
    case = Case("v", truth[None].astype(np.float32), truth, grid)
    labels = segment(fitting("volume", (24, 24, 24), intensity=[], axes="RAS", **preparation), case)
    assert 2 * np.count_nonzero(labels & truth) / (labels.sum() + truth.sum()) > 0.95


@pytest.mark.parametrize(("name", "order"), [("linear", 1), ("cubic", 3)])
def test_volumes_are_resized_as_scipy_does(name, order):
    volume = np.random.default_rng(0).random((1, 9, 11, 13)).astype(np.float32)
    shape = (12, 8, 20)
    factors = [1.0, *(new / old for new, old in zip(shape, volume.shape[1:], strict=True))]
    wanted = ndimage.zoom(volume.astype(np.float64), factors, order=order, mode="nearest", grid_mode=True)
    assert np.abs(resize_volume(volume, shape, name) - wanted).max() < 1e-5


def test_a_window_is_cut_around_a_place_and_filled_up_with_zeros():
    volume = np.arange(6, dtype=np.float32).reshape(1, 1, 1, 6) * np.ones((1, 4, 4, 1), np.float32)
    job = fitting("volume", (6, 4, 4), fit="window", intensity=[]).prepare(
        Case("v", volume, None, Geometry.identity((4, 4, 6)))
    )
    window = crop_window(job.image, (3, 3, 5), job.plan)
    assert window.shape == (1, 6, 4, 4)
    assert window[0, 0].max() == 0 and window[0, 1, 0].tolist() == [2, 3, 4, 5]


def test_the_steps_are_their_formulas():
    image = np.array([[[-200.0, 0.0, 40.0, 900.0]]], np.float32)

    def of(**step: object) -> object:
        return pytest.approx(apply_steps(image, [IntensityStep.model_validate(step)])[0, 0].tolist(), abs=1e-4)

    assert of(scale=0.5) == [-100, 0, 20, 450]
    assert of(range=[0.0, 100.0]) == [-2, 0, 0.4, 9]
    assert of(clip=[-10.0, 50.0]) == [-10, 0, 40, 50]
    assert of(ct_window={"centre": 40.0, "width": 400.0}) == [0, 0.4, 0.5, 1]
    assert of(mean_std={"mean": [40.0], "std": [20.0]}) == [-12, -2, 0, 43]
    assert of(percentiles={"low": 0.0, "high": 100.0}) == [0, 0.1818, 0.2182, 1]
    others = image[image != 0]
    wanted = (image[0, 0] - others.mean()) / others.std()
    assert of(z_score={"nonzero": True}) == [round(float(v), 4) if i != 1 else 0 for i, v in enumerate(wanted)]


def test_a_constant_image_stays_finite():
    steps = [IntensityStep.model_validate(step) for step in ({"z_score": {}}, {"percentiles": {}})]
    assert np.array_equal(apply_steps(np.ones((2, 3, 3)), steps), np.zeros((2, 3, 3)))
