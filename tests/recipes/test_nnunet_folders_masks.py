"""A v1 and a v2 folder of the same weights: the same masks by the same rules, and nnU-Net v2's own mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.recipes.nnunet_models import mask_of, tiny, without_resampling, write_task

KINDS = ("liver", "liver_plain", "heart_2d", "heart_3d")


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory):
    """The recipe's name, a task, and the folders of both versions."""
    model, root = tiny(request.param), tmp_path_factory.mktemp(request.param)
    folders = {version: model.write(root / f"v{version}", version) for version in (1, 2)}
    return model.recipe, write_task(root, model.recipe), folders


@pytest.mark.parametrize("version", [1, 2])
def test_by_the_same_rules_the_masks_are_equal(pair, version):
    name, task, folders = pair
    masks = [mask_of(folder, task, name, as_version=version) for folder in folders.values()]
    np.testing.assert_array_equal(*masks)
    assert len(np.unique(masks[0])) > 1


def test_by_their_own_rules_the_masks_differ_where_the_network_is_unsure(pair):
    name, task, folders = pair
    for version, folder in folders.items():
        np.testing.assert_array_equal(mask_of(folder, task, name), mask_of(folder, task, name, as_version=version))
    first, second = (mask_of(folder, task, name) for folder in folders.values())
    assert 0 < np.mean(first != second) < 0.3  # random weights are unsure nearly everywhere


def test_one_window_at_the_plan_s_own_spacing_gives_the_same_mask_by_either_rule(tmp_path):
    model = without_resampling(tiny("liver"))
    model = replace(model, plan=replace(model.plan, patch_size=(8, 20, 28)))
    task = write_task(tmp_path, model.recipe)
    masks = [mask_of(model.write(tmp_path / f"v{v}", v), task, model.recipe, mirror_axes=[]) for v in (1, 2)]
    np.testing.assert_array_equal(*masks)


def test_v1_and_v2_differ_by_the_average_alone_where_nothing_is_resampled(tmp_path):
    model = without_resampling(tiny("heart_3d"))
    task = write_task(tmp_path, model.recipe)
    masks = [mask_of(model.write(tmp_path / f"v{v}", v), task, model.recipe) for v in (1, 2)]
    assert 0 < np.mean(masks[0] != masks[1]) < 0.3
