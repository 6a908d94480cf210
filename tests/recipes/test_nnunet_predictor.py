"""A v2 folder through nnU-Net v2's own predictor and the recipe: the same masks, and softmax that it reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import recipes
from helpers.data.volume import read_volume
from helpers.inference import as_predictor
from tests.recipes.nnunet_models import mask_of, tiny, write_task

predicting = pytest.importorskip("nnunetv2.inference.predict_from_raw_data")


def answer_of(folder, task):
    """nnU-Net's labels and probabilities of the first case."""
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    from tests.recipes.nnunet_peer import predictor_of

    image, properties = SimpleITKIO().read_images([str(task / "imagesTr" / "case_0.nii.gz")])
    return predictor_of(folder).predict_single_npy_array(image, properties, None, None, True)


class TorchWithoutHalf:
    """torch as one module sees it, with float32 in place of float16."""

    half = torch.float32

    def __getattr__(self, name):
        return getattr(torch, name)


@pytest.fixture()
def in_float32(monkeypatch):
    """nnU-Net's sums in float32: its float16 Gaussian rounds the weights of a window's corners up to 6e-8."""
    gaussian = predicting.compute_gaussian
    whole = lambda *given, **options: gaussian(*given, **{**options, "dtype": torch.float32})  # noqa: E731
    whole.cache_clear = gaussian.cache_clear
    monkeypatch.setattr(predicting, "compute_gaussian", whole)
    monkeypatch.setattr(predicting, "torch", TorchWithoutHalf())


@pytest.mark.parametrize("kind", ["liver_plain", "heart_2d", "heart_3d"])
@pytest.mark.parametrize("folds", [1, 2])
def test_masks_are_nnunet_v2_s(kind, folds, tmp_path, in_float32):
    model = tiny(kind, folds)
    task, folder = write_task(tmp_path, model.recipe), model.write(tmp_path / "model", 2)
    labels, probabilities = answer_of(folder, task)
    ordered = np.sort(probabilities, axis=0)
    sure = ordered[-1] - ordered[-2] > 1e-4
    ours = mask_of(folder, task, model.recipe, folds="all")
    np.testing.assert_array_equal(ours[sure], labels[sure])
    assert sure.mean() > 0.99 and len(np.unique(labels)) > 1


@pytest.mark.parametrize("kind", ["liver_plain", "heart_2d"])
def test_its_float16_sums_change_hardly_a_voxel(kind, tmp_path):
    model = tiny(kind)
    task, folder = write_task(tmp_path, model.recipe), model.write(tmp_path / "model", 2)
    assert np.mean(mask_of(folder, task, model.recipe) != answer_of(folder, task)[0]) < 0.005


def test_saved_probabilities_are_read_by_nnunet_v2_s_ensembling(tmp_path, in_float32):
    from nnunetv2.ensembling.ensemble import merge_files
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    from tests.recipes.nnunet_peer import predictor_of

    model = tiny("liver_plain")
    task, folder = write_task(tmp_path, model.recipe), model.write(tmp_path / "model", 2)
    recipe = recipes.load(model.recipe)
    params = recipe.prepare_params(profile="cpu", checkpoint=str(folder), data_root=str(task), save_softmax=True)
    network = recipe.model.load_for_export(params)
    case = recipe.cases.read_case(recipe.cases.list_cases(task, params)[0], params)

    def infer(batch):
        return network(torch.from_numpy(batch)).numpy()

    with torch.inference_mode():
        labels = recipe.preparation.segment_and_save(case, as_predictor(infer), params, tmp_path / "case_0.nii.gz")
        np.testing.assert_array_equal(labels, recipe.preparation.segment(case, as_predictor(infer), params))
    theirs = answer_of(folder, task)[1]
    ours = np.load(tmp_path / "case_0.npz")["probabilities"]
    assert np.abs(ours - theirs).max() < 1e-4
    merge_files([str(tmp_path / "case_0.npz")] * 2, str(tmp_path / "merged"), ".nii.gz", SimpleITKIO(),
                predictor_of(folder).label_manager)  # fmt: skip
    merged = read_volume(tmp_path / "merged.nii.gz")
    np.testing.assert_array_equal(merged.array[0], labels)
    assert not merged.geometry.differences_from(case.geometry)
