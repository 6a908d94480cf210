"""Flags that need no ground truth, on masks that stand out in one known way."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from helpers.qa.flags import flag_cases, load_measures, measure_mask, modified_z, save_measures

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
