"""Surface and lesion metrics of the demo network's masks of real tumours equal the definitions, written out."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from helpers import recipes
from helpers.inference import as_predictor
from helpers.recipes.parts import run_network
from helpers.scoring.boundaries import surface_areas, surfaces_of_structures
from helpers.scoring.lesions import LesionRule, find_lesions

pytestmark = pytest.mark.slow
LABELS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,), "necrosis": (1,), "oedema": (2,)}


@pytest.fixture(scope="module")
def pairs():
    """(prediction, truth, spacing) of each patch of BraTS 2020, by the demo weights."""
    root = os.environ.get("COOKBOOK_DATA")
    if root is None:
        pytest.skip("COOKBOOK_DATA is not set")
    recipe = recipes.load("unet3d_brats")
    params = recipe.prepare_params(data_root=str(Path(root) / "brats20-patches"), window=[32, 32, 32])
    network = recipe.model.load_trained(params)[0]
    predictor = as_predictor(lambda batch: run_network(network, batch))
    found = []
    for files in recipe.cases.list_cases(Path(params.data_root), params):
        case = recipe.cases.read_case(files, params)
        prediction = recipe.preparation.segment(case, predictor, params)
        found.append((prediction, case.require_truth(), case.require_geometry().spacing_mm_zyx))
    assert len(found) == 22
    return found


def written_out(prediction: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...]) -> list[np.ndarray]:
    """Distances and areas of the elements of both masks, from distance transforms of the whole grid."""
    codes = [_codes(np.pad(mask, 1)) for mask in (prediction, truth)]
    at = [(code > 0) & (code < 255) for code in codes]
    maps = [ndimage.distance_transform_edt(~where, sampling=spacing) for where in at]
    table = surface_areas(spacing)
    return [maps[1][at[0]], maps[0][at[1]], table[codes[0][at[0]]], table[codes[1][at[1]]]]


def _codes(padded: np.ndarray) -> np.ndarray:
    """Which of the eight voxels around each corner are inside, the first in the highest bit."""
    sizes = [side - 1 for side in padded.shape]
    codes = np.zeros(sizes, int)
    for corner in itertools.product((0, 1), repeat=3):
        moved = tuple(slice(start, start + size) for start, size in zip(corner, sizes, strict=True))
        codes = 2 * codes + padded[moved]
    return codes


def test_surfaces_of_real_tumours(pairs):
    compared = empty = 0
    for prediction, truth, spacing in pairs:
        for name, found in surfaces_of_structures(prediction, truth, LABELS, spacing).items():
            ours, theirs = (np.isin(volume, LABELS[name]) for volume in (prediction, truth))
            if not ours.any() or not theirs.any():
                empty += 1
                assert [found.to_truth.size > 0, found.to_prediction.size > 0] == [ours.any(), theirs.any()]
                continue
            compared += 1
            to_truth, to_prediction, predicted, true = written_out(ours, theirs, spacing)
            total = predicted.sum() + true.sum()
            near = predicted[to_truth <= 1].sum() + true[to_prediction <= 1].sum()
            mean = ((to_truth * predicted).sum() + (to_prediction * true).sum()) / total
            assert found.surface_dice(1.0) == pytest.approx(near / total, abs=1e-12)
            assert found.average_distance() == pytest.approx(mean, abs=1e-9)
            assert found.hausdorff(100) == pytest.approx(max(to_truth.max(), to_prediction.max()), abs=1e-12)
            assert found.hausdorff() == pytest.approx(max(_at_95(to_truth, predicted), _at_95(to_prediction, true)))
    assert compared >= 50 and compared + empty == 110


def _at_95(distances: np.ndarray, areas: np.ndarray) -> float:
    """The smallest distance that 95 % of the area does not exceed."""
    return min(each for each in distances if areas[distances <= each].sum() / areas.sum() >= 0.95 - 1e-12)


def test_lesions_of_real_tumours(pairs):
    compared = 0
    for prediction, truth, spacing in pairs:
        for labels in LABELS.values():
            ours, theirs = (np.isin(volume, labels) for volume in (prediction, truth))
            found = find_lesions(ours, theirs, spacing, LesionRule())
            grown = ndimage.binary_dilation(theirs, ndimage.generate_binary_structure(3, 2), iterations=3)
            lesions, count = ndimage.label(grown, np.ones((3, 3, 3)))
            components, total = ndimage.label(ours, np.ones((3, 3, 3)))
            own = [set(np.unique(components[lesions == number])) - {0} for number in range(1, count + 1)]
            assert len(found.of_kind("found")) == sum(map(bool, own))
            assert len(found.of_kind("missed")) == count - sum(map(bool, own))
            assert len(found.of_kind("false")) == total - len(set().union(*own))
            compared += 1
    assert compared == 110
