"""The mask of a cascade's first stage becomes the channels that nnU-Net makes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.data.nnunet.cascade import add_previous_stage, check_cascade, resize_labels
from helpers.data.nnunet.plan import Plan, plan_from_v1, plan_from_v2
from helpers.data.nnunet.preprocess import prepare_case
from helpers.errors import DataError
from tests.data.nnunet_plan_files import v1_plans, v2_dataset, v2_plans


def cascade_plan(spacing_mm=(1.5, 0.8, 0.8)) -> tuple[Plan, dict]:
    plans = v2_plans()
    full = plans["configurations"]["3d_fullres"] | {
        "spacing": list(spacing_mm),
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
        "batch_size": 2,
        "preprocessor_name": "DefaultPreprocessor",
    }
    plans["configurations"]["3d_fullres"] = full
    plans["configurations"]["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    return plan_from_v2(plans, v2_dataset(), "3d_cascade_fullres"), plans


def case(shape=(9, 20, 17)) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    image = random.normal(100, 60, (1, *shape)).astype(np.float32)
    image[:, :2] = image[..., -3:] = 0
    image[0, 5, 8:11, 8:11] = 0  # a hole, which belongs to the region
    return image, random.integers(0, 3, shape).astype(np.uint8)


@pytest.mark.parametrize("spacing_mm", [(2.5, 1.0, 1.3), (6.0, 1.0, 1.0), (1.5, 0.8, 0.8)])
def test_the_channels_are_those_of_nnunetv2(spacing_mm):
    preprocessing = pytest.importorskip("nnunetv2.preprocessing.preprocessors.default_preprocessor")
    handler = pytest.importorskip("nnunetv2.utilities.plans_handling.plans_handler")
    plan, plans = cascade_plan()
    assert (plan.previous_stage, plan.n_inputs) == ("3d_lowres", 3)
    image, mask = case()
    manager = handler.PlansManager(plans)
    _, theirs, _ = preprocessing.DefaultPreprocessor(verbose=False).run_case_npy(
        image,
        mask[None].astype(np.int16),
        {"spacing": spacing_mm},
        manager,
        manager.get_configuration("3d_cascade_fullres"),
        v2_dataset(),
    )
    prepared = add_previous_stage(prepare_case(image, spacing_mm, plan), image, mask, spacing_mm, plan)
    assert prepared.image.shape == (3, *theirs.shape[1:])
    for label in (1, 2):
        np.testing.assert_array_equal(prepared.image[label], theirs[0] == label)


def test_v1_resizes_the_whole_mask_label_by_label():
    resize = pytest.importorskip("skimage.transform").resize
    plan = replace(plan_from_v1(v1_plans()), configuration="3d_cascade_fullres", previous_stage="3d_lowres")
    image, mask = case()
    prepared = prepare_case(image, (2.5, 1.0, 1.3), plan)
    channels = add_previous_stage(prepared, image, mask, (2.5, 1.0, 1.3), plan).image[1:]
    expected = np.zeros(prepared.image.shape[1:], np.uint8)
    for label in range(3):
        share = resize((mask == label).astype(float), expected.shape, 1, mode="edge", clip=True, anti_aliasing=False)
        expected[share >= 0.5] = label
    for label in (1, 2):
        np.testing.assert_array_equal(channels[label - 1], expected == label)


def test_a_mask_that_cannot_be_the_previous_stage_s_is_refused():
    plan, _ = cascade_plan()
    image, mask = case()
    prepared = prepare_case(image, (1.5, 0.8, 0.8), plan)
    with pytest.raises(DataError, match="another grid"):
        add_previous_stage(prepared, image, mask[1:], (1.5, 0.8, 0.8), plan)
    with pytest.raises(DataError, match="labels that the model does not know: received 0 to 3, expected 0 to 2"):
        add_previous_stage(prepared, image, np.where(mask == 2, 3, mask), (1.5, 0.8, 0.8), plan)


def test_a_resampling_of_masks_that_is_not_supported_is_refused():
    plan, _ = cascade_plan()
    check_cascade(plan)
    other = replace(plan, resampling_seg=replace(plan.resampling_seg, function="resample_torch_fornnunet"))
    with pytest.raises(DataError, match="resample_torch_fornnunet"):
        check_cascade(other)
    check_cascade(replace(other, previous_stage=None))


def test_labels_of_the_same_size_are_left_alone():
    labels = np.arange(8).reshape(2, 2, 2)
    assert resize_labels(labels, (2, 2, 2), None) is labels
