"""Surface and lesion metrics equal the tools that define them, on 240 pairs of masks (`references/make.py`)."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from helpers.scoring import boundaries
from helpers.scoring.boundaries import surface_areas, surfaces_of_masks, surfaces_of_structures
from helpers.scoring.calibration import calibration_error
from helpers.scoring.lesions import LesionRule, find_lesions
from helpers.scoring.volume_metrics import (
    StructureRule,
    measure_case,
    metric_names,
    metric_of,
    score_lesions,
    structure_rules,
)

REFERENCES = Path(__file__).parent / "references"


def _maker():
    spec = importlib.util.spec_from_file_location("make_references", REFERENCES / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKER = _maker()


@pytest.fixture(scope="module")
def pairs():
    found = list(MAKER.read_masks())
    assert len(found) == 240
    return found


@pytest.fixture(scope="module")
def measured(pairs):
    return [surfaces_of_masks(*pair) for pair in pairs]


def reference(tool: str) -> list[dict]:
    rows = json.loads((REFERENCES / f"{tool}.json").read_text(encoding="utf-8"))["pairs"]
    assert len(rows) == 240
    return rows


def test_equal_to_the_tool_that_defines_surface_elements(measured):
    compared = 0
    for ours, theirs in zip(measured, reference("surface-distance"), strict=True):
        assert [ours.to_truth.size, ours.to_prediction.size] == theirs["elements"]
        if "hd95" in theirs:
            compared += 1
            assert ours.hausdorff() == pytest.approx(theirs["hd95"], abs=1e-9)
            assert ours.average_distance() == pytest.approx(theirs["assd"], abs=1e-9)
            assert [ours.surface_dice(each) for each in MAKER.TOLERANCES] == pytest.approx(theirs["nsd"], abs=1e-12)
    assert compared >= 200


def test_equal_to_monai_with_subvoxels(measured):
    compared = 0
    for ours, theirs in zip(measured, reference("monai"), strict=True):
        if not ours.both_empty:
            compared += 1
            assert [ours.surface_dice(each) for each in MAKER.TOLERANCES] == pytest.approx(theirs["nsd"], abs=1e-6)
    assert compared >= 200


def test_calibration_errors_equal_those_of_monai(pairs):
    for (prediction, truth, _), row in zip(pairs, reference("calibration"), strict=True):
        assert calibration_error(MAKER.made_up_chances(prediction), truth) == pytest.approx(row["ece"], abs=1e-6)


def test_close_to_distances_between_meshes(pairs, measured):
    """Another definition: meshes are continuous. Distances stay within half a diagonal of a voxel of theirs."""
    differences = []
    for (_, _, spacing), ours, theirs in zip(pairs, measured, reference("meshmetrics"), strict=True):
        if theirs:
            voxel = math.hypot(*spacing)
            assert abs(ours.average_distance() - theirs["assd"]) <= 0.2 * voxel
            differences.append(abs(ours.hausdorff() - theirs["hd95"]) / voxel)
    assert len(differences) >= 200
    assert max(differences) <= 0.5 and np.median(differences) <= 0.1


@pytest.mark.parametrize(
    ("challenge", "rule"), [("BraTS-GLI", LesionRule()), ("BraTS-MET", LesionRule(1, 2.0, 374.0))]
)
def test_lesions_equal_those_of_brats(pairs, challenge, rule):
    for (prediction, truth, spacing), row in zip(pairs, reference("brats-2023"), strict=True):
        ours = score_lesions(find_lesions(prediction, truth, spacing, rule))
        assert [ours.dice, ours.hd95_mm, ours.found, ours.missed, ours.false] == pytest.approx(
            row[challenge], abs=1e-9
        )


def test_lesions_equal_those_of_panoptica_where_each_has_one_partner(pairs):
    """Panoptica pairs each component with one other; without dilation the counts are the same where that is so."""
    compared = 0
    for (prediction, truth, spacing), row in zip(pairs, reference("panoptica"), strict=True):
        found = find_lesions(prediction, truth, spacing, LesionRule(0, 0.0, 374.0))
        partners = [number for lesion in found.of_kind("found") for number in lesion.predictions]
        if len(partners) == len(set(partners)) == len(found.of_kind("found")):
            compared += 1
            ours = score_lesions(found)
            assert [ours.found, ours.false, ours.missed] == [row["tp"], row["fp"], row["fn"]]
            if ours.found:
                dice = np.mean([lesion.dice for lesion in found.of_kind("found")])
                assert dice == pytest.approx(row["dice"], abs=1e-9)
    assert compared >= 130


def test_the_distance_transform_gives_the_distances_of_the_tree(pairs, measured, monkeypatch):
    monkeypatch.setattr(boundaries, "_MOST_IN_TREE", 0)
    monkeypatch.setattr(boundaries, "_VOXELS_PER_ELEMENT", 10**9)
    for pair, expected in list(zip(pairs, measured, strict=True))[::4]:
        found = surfaces_of_masks(*pair)
        for ours, theirs in ((found.to_truth, expected.to_truth), (found.to_prediction, expected.to_prediction)):
            assert np.allclose(ours, theirs, atol=1e-5, rtol=0, equal_nan=True)
        assert found.surface_dice(1.0) == pytest.approx(expected.surface_dice(1.0))


def test_distances_are_those_of_a_brute_force(pairs):
    """Every corner of eight voxels with inside and outside is an element; the nearest other one counts."""
    for prediction, truth, spacing in pairs[::24]:
        corners = [_corners(mask) for mask in (prediction, truth)]
        found = surfaces_of_masks(prediction, truth, spacing)
        if not len(corners[0]) or not len(corners[1]):
            continue
        apart = (corners[0][:, None] - corners[1][None]) * spacing
        nearest = np.sqrt((apart**2).sum(axis=2)).min(axis=1)
        assert np.sort(found.to_truth) == pytest.approx(np.sort(nearest), abs=1e-9)


def _corners(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1).astype(int)
    inside = ndimage.convolve(padded, np.ones((2, 2, 2), int), mode="constant")
    return np.argwhere((inside > 0) & (inside < 8))


def test_areas_are_those_of_marching_cubes():
    """The classic cases: a corner, an edge, a face, and one octahedron around a single voxel."""
    areas = surface_areas((3.0, 1.0, 2.0))
    assert areas[0b00001111] == 2.0 and areas[0b00110011] == 6.0 and areas[0b01010101] == 3.0
    assert np.array_equal(areas, areas[::-1])
    voxel = surfaces_of_masks(np.ones((1, 1, 1), bool), np.ones((1, 1, 1), bool), (1, 1, 1))
    assert voxel.true_areas.sum() == pytest.approx(math.sqrt(3))


def test_structures_of_one_volume_are_those_of_their_masks():
    random = np.random.default_rng(0)
    prediction, truth = (
        ndimage.zoom(random.integers(0, 4, (6, 5, 7)), 3, order=0).astype(np.uint8) for _ in range(2)
    )
    structures = {"a": (1,), "b": (2, 3), "c": (7,)}
    found = surfaces_of_structures(prediction, truth, structures, (2, 1, 1.5))
    for name, labels in structures.items():
        alone = surfaces_of_masks(np.isin(prediction, labels), np.isin(truth, labels), (2, 1, 1.5))
        assert found[name].surface_dice(1.5) == alone.surface_dice(1.5)
        assert (
            found[name].hausdorff() == alone.hausdorff()
            and found[name].average_distance() == alone.average_distance()
        )


RULES = {"liver": StructureRule(1.0, LesionRule())}


def _measure(prediction: np.ndarray, truth: np.ndarray):
    return measure_case(prediction.astype(np.uint8), truth.astype(np.uint8), {"liver": (1,)}, RULES, (2.0, 1.0, 1.0))


def test_an_empty_mask_is_counted_and_never_improves_a_mean():
    empty, full = np.zeros((6, 8, 10), bool), np.ones((6, 8, 10), bool)
    nothing = _measure(empty, empty)
    assert nothing.empty == {"liver": "both"}
    assert [nothing.values[f"{name} liver"] for name in ("NSD", "HD95", "ASSD", "volume difference")] == [None] * 4
    assert [nothing.values[f"lesion {name} liver"] for name in ("Dice", "F1", "HD95")] == [1.0, 1.0, 0.0]
    diagonal = math.hypot(12, 8, 10)
    for pair, which, difference in (((empty, full), "prediction", -0.96), ((full, empty), "truth", 0.96)):
        found = _measure(*pair)
        assert found.empty == {"liver": which}
        assert found.values["NSD liver"] == 0.0
        assert found.values["HD95 liver"] == found.values["ASSD liver"] == pytest.approx(diagonal)
        assert found.values["volume difference liver"] == pytest.approx(difference)
        assert [found.values[f"lesion {name} liver"] for name in ("Dice", "F1", "HD95")] == [0.0, 0.0, 374.0]


def test_lesions_grow_together_as_in_the_whole_volume():
    """The crop to the masks leaves the margin that dilation needs."""
    truth = np.zeros((3, 3, 40), bool)
    truth[1, 1, [10, 16, 30]] = True
    found = find_lesions(truth, truth, (1, 1, 1))
    assert _measure(truth, truth).lesions["liver"] == {"found": 0, "missed": 0, "false": 0}  # all too small
    assert len(found.lesions) == 2


def test_rules_come_from_the_file_and_the_run_overrides_them():
    rules = structure_rules("unetpp3d_liver", ["liver", "lesion"])
    assert (rules["liver"], rules["lesion"]) == (StructureRule(7.0), StructureRule(7.0, LesionRule()))
    assert structure_rules("nnunet", ["spleen", "Cancer"]) == {
        "spleen": StructureRule(2.0),
        "Cancer": StructureRule(2.0, LesionRule()),
    }
    given = structure_rules("nnunet_heart", ["atrium"], {"atrium": 1.0}, ["atrium"])
    assert given == {"atrium": StructureRule(1.0, LesionRule())}
    assert metric_names({"liver": StructureRule(1.0)}) == (
        "NSD liver", "HD95 liver", "ASSD liver", "volume difference liver",
    )  # fmt: skip
    assert metric_of("lesion F1 WT").better == "larger" and metric_of("ASSD WT").better == "smaller"
