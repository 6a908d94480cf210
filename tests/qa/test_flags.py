"""Flags that need no ground truth, on masks that stand out in one known way."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import binary_fill_holes

from helpers.data.geometry import Geometry
from helpers.qa.flags import flag_cases, load_measures, measure_mask, save_measures
from helpers.qa.mask_shape import count_holes, roughness, surface_area
from helpers.scoring.outliers import modified_z

NAMES = ("background", "organ", "lesion")
SPACING = (2.0, 1.0, 0.5)


def _mask(side: int = 6, components: int = 1, at: int = 3, lesion: bool = True) -> np.ndarray:
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[at : at + side, 3 : 3 + side, 3 : 3 + side] = 1
    for part in range(1, components):
        labels[20:24, 20:24, 4 * part + part : 4 * part + part + 4] = 1
    if lesion:
        labels[30:33, 30:33, 30:33] = 2
    return labels


def _flags(masks: dict[str, np.ndarray], agreements=None, spacing=SPACING) -> dict[str, list[str]]:
    measures = {name: measure_mask(mask, len(NAMES), spacing) for name, mask in masks.items()}
    found = flag_cases(measures, NAMES, agreements)
    return {case: [flag.name for flag in flags] for case, flags in found.items() if flags}


def _ordinary(count: int = 6) -> dict[str, np.ndarray]:
    return {f"case_{side}": _mask(side) for side in range(6, 6 + count)}


def test_ordinary_cases_are_not_flagged():
    assert _flags(_ordinary()) == {}


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("volume", _mask(32)),
        ("components", _mask(8, components=5)),
        ("missing label", _mask(8, lesion=False)),
        ("border", _mask(8, at=0)),
    ],
)
def test_each_oddity_gets_its_own_flag_only(name, mask):
    assert _flags({**_ordinary(), "odd": mask}) == {"odd": [name]}


def test_an_empty_mask_is_flagged():
    assert _flags({**_ordinary(), "odd": np.zeros((40, 40, 40), np.uint8)})["odd"][0] == "empty"


def test_a_disagreement_is_flagged_and_an_unknown_one_is_not():
    agreements = {"case_6": 0.85, "case_7": 0.99, "case_8": None}
    assert _flags(_ordinary(), agreements) == {"case_6": ["disagreement"]}


def test_a_photograph_may_touch_its_border():
    assert _flags({str(i): _mask(6, at=0)[4] for i in range(3)}, spacing=None) == {}


def test_too_few_cases_have_no_outliers():
    few = dict(list(_ordinary(3).items()))
    assert _flags({**few, "odd": _mask(32)}) == {}


def test_modified_z_scores_follow_the_published_formula():
    """0.6745 (x - median) / MAD, the formula of Iglewicz and Hoaglin, by hand."""
    assert modified_z([1, 2, 3, 4, 100]) == pytest.approx([0.6745 * v for v in (-2, -1, 0, 1, 97)])
    assert modified_z([1, 1, 1, 1, 5])[-1] == pytest.approx(4 / (1.253314 * 0.8))
    assert not modified_z([2, 2, 2]).any()


def test_measures_agree_with_simpleitk():
    labels = (np.random.default_rng(3).random((20, 21, 22)) < 0.09).astype(np.uint8)
    measures = measure_mask(labels, 2, SPACING)
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing(SPACING[::-1])
    parts = sitk.ConnectedComponent(image, True)
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(parts)
    sizes = [shape.GetNumberOfPixels(part) for part in shape.GetLabels()]
    assert measures.components == (sum(size >= 10 for size in sizes),)
    total_ml = sum(shape.GetPhysicalSize(part) for part in shape.GetLabels()) / 1000
    assert measures.amount(1) == pytest.approx(total_ml)


def test_measures_are_cached_and_a_damaged_file_is_ignored(tmp_path):
    measures = measure_mask(_mask(), len(NAMES), SPACING)
    path = tmp_path / "measures.json"
    assert load_measures(path) is None
    save_measures(path, measures)
    assert load_measures(path) == measures
    path.write_text(path.read_text(encoding="utf-8")[:30], encoding="utf-8")
    assert load_measures(path) is None


def test_measures_of_an_earlier_version_stay_readable_and_are_known_to_be_incomplete(tmp_path):
    measures = measure_mask(_mask(), len(NAMES), SPACING, np.eye(4))
    path = tmp_path / "measures.json"
    save_measures(path, measures)
    assert load_measures(path) == measures and measures.is_complete
    content = json.loads(path.read_text(encoding="utf-8"))
    for name in ("roughness", "holes", "centres_mm"):
        del content[name]
    path.write_text(json.dumps(content), encoding="utf-8")
    earlier = load_measures(path)
    assert earlier.voxels == measures.voxels and not earlier.is_complete
    assert not any(flag_cases({str(case): earlier for case in range(6)}, NAMES).values())


def _ball(radius: int = 12, noise: float = 0.0) -> np.ndarray:
    """A ball, a smooth one or with voxels of its surface at random."""
    z, y, x = np.ogrid[-20:20, -20:20, -20:20]
    away = np.sqrt(z**2 + y**2 + x**2) + noise * np.random.default_rng(5).standard_normal((40, 40, 40))
    return np.asarray(away < radius, np.uint8)


def _balls() -> dict[str, np.ndarray]:
    return {f"ball_{radius}": _ball(radius) for radius in range(10, 16)}


def test_a_rough_surface_is_flagged_where_the_others_are_smooth():
    rough = _ball(noise=1.0)
    flags = _flags({**_balls(), "rough": rough})
    assert flags["rough"].count("rough surface") == 1
    assert not any("rough surface" in found for case, found in flags.items() if case != "rough")
    assert _flags({**_balls(), "smooth": _ball(12)}) == {}


def test_a_surface_that_is_hardly_rougher_is_not_flagged():
    """A dent that is an outlier by the robust rule, since balls are about equally smooth, but no reason to look."""
    dented = _ball(12)
    dented[8:14, 17:23, 17:23] = 0
    masks = {**_balls(), "dented": dented}
    rough = [measure_mask(mask, 3, SPACING).roughness[0] for mask in masks.values()]
    assert modified_z(rough)[-1] > 3.5
    assert _flags(masks) == {}


def test_crumbs_beside_a_structure_do_not_make_it_rough():
    crumbs = _mask(8, components=5)
    (rough, _), (alone, _) = (measure_mask(m, 3, SPACING).roughness for m in (crumbs, _mask(8)))
    assert rough == pytest.approx(alone)


def test_roughness_does_not_depend_on_how_a_grid_divides_space():
    """The smoothing box has about the same millimetres along coarse axes, so that slices stay slices."""
    fine, coarse = _ball(15).astype(bool), _ball(15)[::5].astype(bool)
    assert roughness(coarse, (5.0, 1.0, 1.0)) == pytest.approx(roughness(fine, (1.0, 1.0, 1.0)), abs=0.1)


def test_a_small_or_thin_structure_has_no_roughness():
    """Their smoothed form is mostly chance, or nothing."""
    sheet = np.zeros((30, 30, 30), bool)
    sheet[10:12] = True
    small = np.zeros((30, 30, 30), bool)
    small[10:14, 10:14, 10:14] = True
    assert roughness(sheet, (1.0, 1.0, 1.0)) is None and roughness(small, (1.0, 1.0, 1.0)) is None
    assert roughness(np.ones((30, 30, 30), bool), (1.0, 1.0, 1.0)) is None


def test_the_surface_is_the_sum_of_the_faces():
    where = np.pad(np.random.default_rng(1).random((6, 7, 8)) < 0.4, 1)
    spacing, expected = (2.0, 1.0, 0.5), 0.0
    for place in np.argwhere(where):
        for axis, area in enumerate((1.0 * 0.5, 2.0 * 0.5, 2.0 * 1.0)):
            step = np.eye(3, dtype=int)[axis]
            expected += area * sum(not where[tuple(place + side * step)] for side in (-1, 1))
    assert surface_area(where, spacing) == pytest.approx(expected)


def _hollow(holes: int, side: int = 30) -> np.ndarray:
    labels = _mask(side, lesion=False)
    for hole in range(holes):
        labels[6 + 5 * hole : 9 + 5 * hole, 8:11, 8:11] = 0
    return labels


def test_holes_are_flagged_where_the_others_have_none():
    whole = {str(side): _hollow(0, side) for side in range(27, 33)}
    assert _flags({**whole, "hollow": _hollow(2)}) == {"hollow": ["holes"]}
    hollow = {str(side): _hollow(2, side) for side in range(27, 33)}
    assert _flags({**hollow, "whole": _hollow(0)}) == {}


def test_a_hole_that_another_label_fills_or_that_is_small_or_open_is_none():
    labels = _hollow(1)
    assert measure_mask(labels, 3, SPACING).holes == (1, 0)
    filled, small, tunnel = labels.copy(), _hollow(0), labels.copy()
    filled[6:9, 8:11, 8:11] = 2
    small[6:8, 8:10, 8:10] = 0
    tunnel[:9, 8:11, 8:11] = 0
    for other in (filled, small, tunnel):
        assert measure_mask(other, 3, SPACING).holes == (0, 0)


def test_holes_agree_with_scipy():
    where = np.kron(np.random.default_rng(2).random((8, 9, 10)) < 0.8, np.ones((3, 3, 3), bool)) > 0
    filled = sitk.GetImageFromArray((binary_fill_holes(where) & ~where).astype(np.uint8))
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(sitk.ConnectedComponent(filled, False))
    expected = sum(shape.GetNumberOfPixels(part) >= 10 for part in shape.GetLabels())
    assert expected > 5 and count_holes(where, ~where) == expected


KIDNEYS = ("background", "kidney_left", "kidney_right")


def _kidneys(direction: tuple[float, ...], swapped: bool, names: tuple[str, ...] = KIDNEYS) -> list[str]:
    """The flags of two kidneys whose left one is at the larger x in patient space, unless they are swapped."""
    geometry = Geometry((10, 20, 40), (3.0, 1.0, 1.0), (-20.0, 0.0, 0.0), direction)
    labels = np.zeros(geometry.size_zyx, np.uint8)
    labels[3:7, 5:15, 4:12], labels[3:7, 5:15, 28:36] = 1, 2  # the left one at the smaller index
    if (direction[0] > 0) != swapped:
        labels = labels[:, :, ::-1]
    measures = {"case": measure_mask(labels, 3, geometry.spacing_mm_zyx, geometry.affine_lps())}
    return [str(flag) for flag in flag_cases(measures, names)["case"]]


@pytest.mark.parametrize("direction", [(1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)])
def test_swapped_sides_are_flagged_by_the_direction_of_the_grid(direction):
    assert _kidneys(direction, swapped=False) == []
    (flag,) = _kidneys(direction, swapped=True)
    assert flag == "left and right: kidney_left is 24 mm farther to the patient's right than kidney_right"


def test_only_names_of_a_pair_are_compared():
    direction = (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)
    assert _kidneys(direction, True, ("background", "left ventricle", "right atrium")) == []
    assert _kidneys(direction, True, ("background", "cleft", "cright")) == []
    assert len(_kidneys(direction, True, ("background", "Kidney Left", "Kidney Right"))) == 1


def test_sides_are_not_compared_where_the_image_does_not_say_them():
    labels = np.zeros((10, 20, 40), np.uint8)
    labels[3:7, 5:15, 4:12], labels[3:7, 5:15, 28:36] = 1, 2
    assert measure_mask(labels, 3, SPACING).centres_mm == (None, None)
    assert flag_cases({"case": measure_mask(labels, 3, SPACING)}, KIDNEYS) == {"case": []}
