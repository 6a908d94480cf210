"""Folders that nnU-Net v2 itself planned and saved: its own masks, in the files and on the grids that it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("nnunetv2.training.nnUNetTrainer.nnUNetTrainer")

from helpers import recipes
from helpers.inference import as_predictor
from tests.recipes.nnunet_pipeline import run_pipeline
from tests.recipes.nnunet_trained import (
    PICTURES,
    Kind,
    Trained,
    in_float32,
    predict,
    read_grid,
    read_values,
    sure_voxels,
    train,
)

RECIPE = "nnunet"
VOLUME_READERS = ("SimpleITKIO", "NibabelIOWithReorient")
CONFIGURATIONS = ("2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres")
LABELS = ("plain", "regions", "ignore")
PLANNERS = ("default", "M", "L")

QUICK = [
    (Kind("default", "3d_fullres", "regions", "NibabelIOWithReorient"), ("PIR",)),
    (Kind("M", "2d", "ignore", "SimpleITKIO"), ("LAS",)),
    (Kind("M", "3d_cascade_fullres", "regions", "NibabelIOWithReorient"), ("LPS",)),
    (Kind("L", "3d_fullres", "plain", "SimpleITKIO"), ("RAS",)),
    (Kind("default", "2d", "plain", PICTURES), ()),
]
ALL = [
    Kind(planner, configuration, LABELS[(row + column + side) % 3], reader)
    for row, planner in enumerate(PLANNERS)
    for column, configuration in enumerate(CONFIGURATIONS)
    for side, reader in enumerate(VOLUME_READERS)
] + [Kind(planner, "2d", labels, PICTURES) for planner in PLANNERS for labels in LABELS]


@pytest.fixture(autouse=True)
def one_thread():
    """Networks as small as these are slower with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def masks_of(trained: Trained, to: Path, previous: Path | None = None, **given: object) -> None:
    """The recipe's own masks of every image, as files in a folder."""
    to.mkdir()
    recipe = recipes.load(RECIPE)
    given |= {"checkpoint": str(trained.folder()), "data_root": str(trained.images)}
    given |= {} if previous is None else {"prev_stage_predictions": str(previous)}
    params = recipe.prepare_params(profile="cpu", **given)
    network = recipe.model.load_for_export(params)

    def infer(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(batch)).numpy()

    for files in recipe.cases.list_cases(trained.images, params):
        case = recipe.cases.read_case(files, params)
        path = to / f"{files.id}{recipe.cases.mask_suffix(params)}"
        classes = recipe.preparation.segment_and_save(case, as_predictor(infer), params, path)
        recipe.cases.write_mask(classes, case, path)


def compare(trained: Trained, root: Path) -> tuple[int, int]:
    """Voxels that were compared, and those that differ from nnU-Net's where it leaves no doubt."""
    theirs, ours, previous = root / "theirs", root / "ours", None
    with in_float32():
        if trained.kind.configuration == "3d_cascade_fullres":
            previous = root / "first_stage"
            predict(trained, previous, "3d_lowres")
        predict(trained, theirs, previous=previous)
    masks_of(trained, ours, previous=previous)
    compared = differing = 0
    for case in trained.cases:
        mask, expected = (read_values(folder / f"{case}{trained.file_ending}") for folder in (ours, theirs))
        assert mask.shape == expected.shape and mask.dtype == expected.dtype
        assert len(np.unique(expected)) > 1
        np.testing.assert_array_equal(*(read_grid(f / f"{case}{trained.file_ending}") for f in (ours, theirs)))
        sure = sure_voxels(theirs, case, trained)
        assert sure.mean() > 0.99
        compared += int(sure.sum())
        differing += int(np.count_nonzero((mask != expected)[sure]))
    return compared, differing


@pytest.mark.parametrize(("kind", "orientations"), QUICK, ids=str)
def test_masks_are_nnunet_s(kind, orientations, tmp_path):
    compared, differing = compare(train(tmp_path / "trained", kind, orientations), tmp_path)
    assert compared > 2000 and differing == 0


@pytest.mark.parametrize(
    "kind",
    [Kind("default", "2d", "regions", "NibabelIOWithReorient"), Kind("default", "2d", "plain", PICTURES)],
    ids=str,
)
def test_saved_probabilities_are_merged_by_nnunets_own_ensembling(kind, tmp_path):
    from nnunetv2.ensembling.ensemble import merge_files
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    trained = train(tmp_path / "trained", kind, ("PIR",))
    with in_float32():
        predict(trained, tmp_path / "theirs")
    masks_of(trained, tmp_path / "ours", save_softmax=True)
    manager = PlansManager(str(trained.folder() / "plans.json"))
    labels = manager.get_label_manager(json.loads((trained.folder() / "dataset.json").read_text(encoding="utf-8")))
    for case in trained.cases:
        ours, theirs = (np.load(tmp_path / name / f"{case}.npz")["probabilities"] for name in ("ours", "theirs"))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
        files = [str(tmp_path / name / f"{case}.npz") for name in ("ours", "ours")]
        merge_files(files, str(tmp_path / case), trained.file_ending, manager.image_reader_writer_class(), labels)
        merged, mask = tmp_path / f"{case}{trained.file_ending}", tmp_path / "ours" / f"{case}{trained.file_ending}"
        np.testing.assert_array_equal(read_values(merged), read_values(mask))
        np.testing.assert_array_equal(read_grid(merged), read_grid(mask))


def test_a_run_of_every_stage_scores_regions_and_writes_nnunets_summary(tmp_path):
    trained = train(tmp_path / "trained", Kind("M", "3d_fullres", "regions", "NibabelIOWithReorient"), ("LAS",))
    given = {"checkpoint": str(trained.folder()), "data_root": str(trained.images.parent), "mirror_axes": []}
    run = run_pipeline(RECIPE, tmp_path / "outputs", **given)
    scores = json.loads(run.path("metrics.json").read_text(encoding="utf-8"))["cases"]["case_LAS"]
    assert set(scores) == {"whole", "core", "enhancing"}
    summary = json.loads(run.path("summary.json").read_text(encoding="utf-8"))
    assert set(summary["mean"]) == {"(1, 2, 3)", "(2, 3)", "3"}
    assert summary["mean"]["(2, 3)"]["Dice"] == pytest.approx(scores["core"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL, ids=str)
def test_masks_are_nnunet_s_for_every_kind_of_folder_and_orientation(kind, tmp_path):
    compared, differing = compare(train(tmp_path / "trained", kind), tmp_path)
    assert compared > 2000 and differing == 0


def test_the_combinations_cover_every_pair_that_may_interact():
    assert len(ALL) >= 24
    for planner in PLANNERS:
        of_planner = [kind for kind in ALL if kind.planner == planner]
        assert {kind.configuration for kind in of_planner} == set(CONFIGURATIONS)
        assert {kind.labels for kind in of_planner} == set(LABELS)
        assert {kind.reader for kind in of_planner} == {*VOLUME_READERS, PICTURES}
    pairs = {(kind.configuration, kind.labels) for kind in ALL}
    assert pairs == {(configuration, labels) for configuration in CONFIGURATIONS for labels in LABELS}
