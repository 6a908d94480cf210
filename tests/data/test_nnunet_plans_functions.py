"""Resampling and normalisation as a plan names them equal nnU-Net v2's own functions and preprocessor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.data.nnunet.plan import Resampling, plan_from_v2
from helpers.data.nnunet.preprocess import check_resampling, prepare_case
from helpers.data.nnunet.resample import interpolation_of
from helpers.errors import DataError
from helpers.inference import resample_to_labels
from tests.data.nnunet_plan_files import v2_dataset, v2_plans

managing = pytest.importorskip("nnunetv2.utilities.plans_handling.plans_handler")
preprocessing = pytest.importorskip("nnunetv2.preprocessing.preprocessors.default_preprocessor")
exporting = pytest.importorskip("nnunetv2.inference.export_prediction")
pytest.importorskip("einops")

DEFAULT, TORCH, NONE = "resample_data_or_seg_to_shape", "resample_torch_fornnunet", "no_resampling_hack"
# The functions with the arguments that nnU-Net's planners write, and those that a user may set.
FUNCTIONS = {
    "default": (DEFAULT, {"order": 3, "order_z": 0, "force_separate_z": None}, {"order": 1, "order_z": 0}),
    "never separately": (DEFAULT, {"order": 3, "order_z": 0, "force_separate_z": False}, {"order": 1, "order_z": 0}),
    "separately": (DEFAULT, {"order": 3, "order_z": 1, "force_separate_z": True}, {"order": 1, "order_z": 1}),
    "separately, nearest": (
        DEFAULT,
        {"order": 1, "order_z": 0, "force_separate_z": True},
        {"order": 1, "order_z": 0},
    ),
    "nothing given": (DEFAULT, {}, {"order": 1}),
    "torch": (TORCH, {"memefficient_seg_resampling": False, "force_separate_z": None}, {}),
    "torch, never": (TORCH, {"memefficient_seg_resampling": False, "force_separate_z": False}, {}),
    "none": (NONE, {}, {}),
}
SCHEMES = (
    "CTNormalization",
    "ZScoreNormalization",
    "NoNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
)
SPACINGS = ((5.0, 0.9, 0.7), (1.0, 0.9, 1.3), (0.9, 4.0, 0.9))


def plans_of(function: str, scheme: str, use_mask: bool, transpose=(0, 1, 2)) -> dict:
    """A plan with one function and one scheme."""
    name, image, scores = FUNCTIONS[function]
    content = v2_plans()
    settings = content["configurations"]["3d_fullres"]
    given = {"is_seg": False} if name != NONE else {}
    forced = {"force_separate_z": image["force_separate_z"]} if "force_separate_z" in image else {}
    others = {key: value for key, value in image.items() if name == TORCH and key != "force_separate_z"}
    for part, options in (
        ("data", image),
        ("probabilities", {**others, **forced, **scores}),
        ("seg", {**others, **forced}),
    ):
        settings[f"resampling_fn_{part}"] = name
        settings[f"resampling_fn_{part}_kwargs"] = {
            **given,
            **({"is_seg": True} if part == "seg" and given else {}),
            **options,
        }
        settings[f"resampling_fn_{part}_kwargs"] |= given if part != "seg" else {}
    settings |= {"spacing": [1.4, 1.0, 1.1], "normalization_schemes": [scheme], "use_mask_for_norm": [use_mask]}
    settings |= {"preprocessor_name": "DefaultPreprocessor", "data_identifier": "x", "batch_size": 2}
    content["transpose_forward"], content["transpose_backward"] = list(transpose), np.argsort(transpose).tolist()
    return content


def image_of(seed=0, shape=(9, 15, 13)):
    """Whole numbers from 0 to 255 with a rim of zeros and a hole."""
    image = np.random.default_rng(seed).integers(1, 256, (1, *shape)).astype(np.float32)
    image[:, :1] = image[..., -2:] = 0
    image[:, 4:6, 5:9, 4:6] = 0
    return image


def prepared_by_both(content, spacing):
    """The image that nnU-Net's preprocessor gives, with its properties, and ours; and both plans."""
    manager = managing.PlansManager(content)
    configuration = manager.get_configuration("3d_fullres")
    with np.errstate(all="ignore"):
        data, _, properties = preprocessing.DefaultPreprocessor(verbose=False).run_case_npy(
            image_of(), None, {"spacing": list(spacing)}, manager, configuration, v2_dataset()
        )
    plan = plan_from_v2(content, v2_dataset(), "3d_fullres")
    return data, properties, prepare_case(image_of(), spacing, plan), (manager, configuration)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_prepared_image_and_the_restored_labels_are_nnunets(function, spacing):
    content = plans_of(function, "ZScoreNormalization", False)
    data, properties, ours, (manager, configuration) = prepared_by_both(content, spacing)
    assert ours.image.shape == data.shape
    np.testing.assert_allclose(ours.image, data, rtol=0, atol=2e-5)
    scores = np.random.default_rng(1).normal(size=(3, *data.shape[1:])).astype(np.float32)
    label_manager = manager.get_label_manager(v2_dataset())
    convert = exporting.convert_predicted_logits_to_segmentation_with_correct_shape
    theirs, chances = convert(scores, manager, configuration, label_manager, properties, True, 1)
    target = ours.target_shape or scores.shape[1:]
    labels = np.zeros(ours.original_shape, np.uint8)
    labels[ours.box] = resample_to_labels(scores, target, nearest_axis=ours.back_axis)
    ordered = np.sort(chances, axis=0)
    sure = ordered[-1] - ordered[-2] > 1e-5
    np.testing.assert_array_equal(labels[sure], theirs[sure])
    assert sure.mean() > 0.99


@pytest.mark.parametrize("use_mask", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_is_nnunets(scheme, use_mask):
    data, _, ours, _ = prepared_by_both(plans_of("default", scheme, use_mask, (1, 0, 2)), (1.4, 2.0, 0.9))
    np.testing.assert_allclose(ours.image, data, rtol=0, atol=2e-5 * max(1.0, np.abs(data).max()))


def test_pictures_that_are_not_rgb_are_refused():
    plan = plan_from_v2(plans_of("default", "RGBTo01Normalization", False), v2_dataset(), "3d_fullres")
    with pytest.raises(DataError, match="the plan is for RGB pictures: received 0 to 2550"):
        prepare_case(image_of() * 10, (1.0, 1.0, 1.0), plan)


@pytest.mark.parametrize(
    ("function", "options"),
    [
        ("resample_torch_simple", {"is_seg": False}),  # nnU-Net cannot call it from a plan either
        ("my_resampling", {}),
        (DEFAULT, {"is_seg": True, "order": 1}),
        (DEFAULT, {"order": 3, "separate_z_anisotropy_threshold": 2}),
        (TORCH, {"mode": "area"}),
    ],
)
def test_other_functions_are_refused_by_name(function, options):
    with pytest.raises(DataError, match=f"resampling is not supported: received {function}"):
        interpolation_of(Resampling(function, tuple(sorted(options.items()))))


@pytest.mark.parametrize("options", [{"order": 3, "order_z": 0}, {"order": 0}])
def test_scores_are_resampled_linearly_or_the_plan_is_refused(options):
    plan = plan_from_v2(v2_plans(), v2_dataset(), "3d_fullres")
    check_resampling(plan)
    scores = Resampling(DEFAULT, tuple(sorted({**options, "force_separate_z": None}.items())))
    with pytest.raises(DataError, match="resampling of scores is not supported"):
        check_resampling(replace(plan, resampling_probabilities=scores))
    with pytest.raises(DataError, match="resampling of scores is not supported"):
        check_resampling(replace(plan, resampling_probabilities=Resampling(NONE)))
