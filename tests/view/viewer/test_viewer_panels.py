"""The panels: what the pictures show and where, and what is sent to NiiVue."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from scenes import NAMES, directions, grid, make_case, to_sitk

from helpers.view.palette import FALSE_NEGATIVE, label_colour, rgb
from helpers.view.viewer.niivue import NiivuePanel, combine_layers
from helpers.view.viewer.scene import ViewState, make_scene
from helpers.view.viewer.slices import AXIAL, CORONAL, SAGITTAL, SlicePanel, encode_jpeg, plane_letters, render_plane


@pytest.fixture
def scene():
    case = make_case()
    masks = {"prediction": case["prediction"], "truth": case["truth"]}
    return make_scene(case["image"], masks, grid(case["image"].shape), NAMES, window=(50.0, 150.0))


@pytest.mark.parametrize("radiological", [True, False])
@pytest.mark.parametrize("direction", directions()[:-1])
def test_the_letters_name_the_patients_sides(direction, radiological):
    """A bright spot at the patient's left, back and head appears at the sides with those letters."""
    shape = (20, 20, 20)
    image, geometry = np.zeros(shape, np.float32), grid(shape, direction)
    grid_points = to_sitk(image, geometry)
    corners = [(x, y, z) for x in (1, 18) for y in (1, 18) for z in (1, 18)]
    x, y, z = max(
        corners, key=lambda index: sum(grid_points.TransformIndexToPhysicalPoint(index))
    )  # LPS all positive
    image[z, y, x] = 100
    spot = make_scene(image, {"prediction": np.zeros(shape, np.uint8)}, geometry, NAMES, window=(0.0, 100.0))
    bright = tuple(int(at) for at in np.argwhere(spot.image)[0])
    state = ViewState.of(spot)
    state.set_trait("radiological", radiological)
    for plane in (AXIAL, CORONAL, SAGITTAL):
        # The crosshair must not hide the spot, so it is elsewhere in the same slice.
        state.position = tuple(at if axis == plane else 10 for axis, at in enumerate(bright))
        picture = render_plane(spot, state, plane)
        (row, column), (height, width) = np.argwhere(picture.min(axis=2) == 255)[0], picture.shape[:2]
        left, right, top, bottom = plane_letters(plane, radiological)
        assert (left if column < width / 2 else right) in "LP"
        assert (top if row < height / 2 else bottom) in "PS"


def test_fill_and_outline_have_their_own_opacity(scene):
    state = ViewState.of(scene)
    state.position, state.mode = (5, 0, 0), "truth"
    state.fill_opacity, state.outline_opacity = 0.0, 1.0
    picture = render_plane(scene, state, AXIAL)
    organ = np.rint(255 * np.array(rgb(label_colour(1)))).astype(int)
    assert np.abs(picture[3, 8].astype(int) - organ).max() <= 1  # at its edge
    assert len(set(picture[4, 5].tolist())) == 1  # inside: grey
    state.show_code("truth", 1, False)
    assert len(set(render_plane(scene, state, AXIAL)[3, 8].tolist())) == 1


def test_errors_have_their_colours(scene):
    state = ViewState.of(scene)
    state.mode, state.fill_opacity = "errors", 1.0
    state.position = (7, 0, 0)
    missed = np.rint(255 * np.array(rgb(FALSE_NEGATIVE))).astype(int)
    assert np.abs(render_plane(scene, state, AXIAL)[5, 6].astype(int) - missed).max() <= 1


def test_slices_are_redrawn_on_a_change_if_the_panel_is_visible(scene):
    state = ViewState.of(scene)
    panel = SlicePanel(scene, state, active=False)
    pictures = [child.children[1] for child in panel.widget.children]
    assert not any(picture.value for picture in pictures)
    panel.set_active(True)
    before = [picture.value for picture in pictures]
    state.position = (2, 3, 4)
    assert all(now.value != then for now, then in zip(pictures, before, strict=True))


def test_a_small_slice_is_enlarged():
    from io import BytesIO

    from PIL import Image

    data = encode_jpeg(np.zeros((10, 20, 3), np.uint8))
    assert Image.open(BytesIO(data)).size == (320, 160)


def test_combined_layers_can_be_separated():
    random = np.random.default_rng(3)
    layers = [random.integers(0, top, (8, 9, 10)) for top in (4, 30, 7)]
    codes, table = combine_layers(layers)
    assert codes.dtype == np.int16
    for layer, column in zip(layers, table.T, strict=True):
        assert np.array_equal(column[codes], layer)


def test_one_label_volume_holds_every_mode(scene):
    state = ViewState.of(scene)
    panel = NiivuePanel(scene, state)
    image, fill, outline = panel.widget.volumes
    codes = np.asarray(nibabel.Nifti1Image.from_bytes(fill.data).dataobj)
    for mode in scene.modes:
        state.mode = mode
        table = np.array(fill.colormap_label.lut).reshape(-1, 4)
        shown = table[codes.astype(int)][..., 3] > 0
        labels = scene.small_labels(mode)[:, ::-1, ::-1].transpose(2, 1, 0)  # NIfTI counts to the right and the front
        assert np.array_equal(shown, labels > 0)
    state.fill_opacity, state.outline_opacity, state.window = 0.1, 0.2, (60.0, 90.0)
    assert (fill.opacity, outline.opacity) == (0.1, 0.2)
    assert (image.cal_min, image.cal_max) == (60.0, 90.0)


def test_a_click_in_niivue_moves_the_position_and_back(scene):
    state = ViewState.of(scene)
    panel = NiivuePanel(scene, state)
    state.position = (3, 9, 11)
    right, front, up = panel.widget.scene.crosshair_pos
    assert (right, front, up) == pytest.approx((1 - 11.5 / 16, 1 - 9.5 / 14, 3.5 / 12))
    panel._follow_click({"frac": [1 - 2.5 / 16, 1 - 4.5 / 14, 6.5 / 12]})
    assert state.position == (6, 4, 2)
