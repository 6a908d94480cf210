"""Plans of both versions become one kind of plan, and unsupported ones are refused by name."""

from __future__ import annotations

import warnings

import pytest
import torch

from helpers.data.nnunet.plan import ChannelNorm, plan_from_v1, plan_from_v2
from helpers.errors import DataError
from helpers.networks.nnunet import GenericUNet
from tests.data.nnunet_plan_files import v1_plans, v2_dataset, v2_plans

CT = ChannelNorm("ct", False, 99.4, 39.4, -17.0, 201.0)


def test_v1_gives_patch_spacing_intensities_and_network():
    plan = plan_from_v1(v1_plans())
    assert (plan.version, plan.configuration, plan.activation) == (1, "3d_fullres", "softmax")
    assert (plan.patch_size, plan.spacing_mm) == ((32, 48, 40), (1.5, 0.8, 0.8))
    assert plan.channels == (CT,)
    assert plan.class_names == ("background", "1", "2")
    assert plan.pools == ((2, 2, 2),) * 2
    assert all(type(side) is int for side in plan.patch_size)


def test_v1_uses_the_full_resolution_of_a_cascade_or_the_given_stage():
    plans = v1_plans(stages=2)
    assert plan_from_v1(plans).spacing_mm == (1.5, 0.8, 0.8)
    coarse = plan_from_v1(plans, 0)
    assert (coarse.spacing_mm, coarse.configuration) == ((3.0, 1.6, 1.6), "3d_lowres")
    with pytest.raises(DataError, match=r"does not have this stage: received 2, expected \[0, 1\]"):
        plan_from_v1(plans, 2)


def test_v1_in_two_dimensions_keeps_the_spacing_in_the_slice():
    plan = plan_from_v1(v1_plans(dims=2, modality="MRI"))
    assert (plan.configuration, plan.patch_size, plan.spacing_mm) == ("2d", (48, 40), (0.8, 0.8))
    assert plan.channels == (ChannelNorm("zscore", False),)
    assert plan.largest_width == 480


@pytest.mark.parametrize("old_form", [False, True])
def test_v2_gives_the_same_and_its_own_network(old_form):
    plan = plan_from_v2(v2_plans(old_form), v2_dataset(), "3d_fullres")
    assert (plan.version, plan.activation) == (2, None)
    assert (plan.patch_size, plan.spacing_mm, plan.channels) == ((32, 48, 40), (1.5, 0.8, 0.8), (CT,))
    assert plan.class_names == ("background", "liver", "cancer")
    assert plan.pools == ((1, 2, 2), (2, 2, 2))
    with torch.device("meta"):
        state = GenericUNet(**plan.network_arguments()).state_dict()
    assert state["conv_blocks_context.0.blocks.0.conv.weight"].shape == (4, 1, 1, 3, 3)
    assert state["conv_blocks_localization.1.0.blocks.0.conv.weight"].shape == (4, 8, 1, 3, 3)
    assert state["tu.0.bias"].shape == (8,)


def test_v2_inherits_configurations():
    plan = plan_from_v2(v2_plans(), v2_dataset(), "3d_lowres")
    assert (plan.spacing_mm, plan.patch_size) == ((3.0, 1.6, 1.6), (32, 48, 40))
    with pytest.raises(DataError, match="received 2d, expected 3d_fullres, 3d_lowres"):
        plan_from_v2(v2_plans(), v2_dataset(), "2d")


def test_regions_and_the_ignore_label_are_those_of_the_data_set():
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
    plan = plan_from_v2(v2_plans(), v2_dataset() | {"labels": labels, "regions_class_order": [1, 2, 3]}, "3d_fullres")
    assert plan.regions == (("whole", (1, 2, 3)), ("core", (2, 3)), ("enhancing", (3,)))
    assert (plan.regions_class_order, plan.ignore_label) == ((1, 2, 3), 4)
    assert plan.class_names == ("background", "rest of whole", "rest of core", "enhancing")
    assert (plan.n_classes, plan.n_outputs, plan.probability) == (4, 3, "sigmoid")


@pytest.mark.parametrize(
    ("labels", "order", "message"),
    [
        ({"air": 0, "liver": 1}, None, "the background of dataset.json is not label 0: received none"),
        ({"background": 1, "liver": 0}, None, r"the background of dataset.json is not label 0: received \(1,\)"),
        ({"background": 0, "liver": 2}, None, "label values of dataset.json are not 0, 1, 2"),
        ({"background": 0, "ignore": 1, "liver": 2}, None, "label values of dataset.json are not 0, 1, 2"),
        ({"background": 0, **{f"l{i}": i for i in range(1, 257)}}, None, "received 257 values"),
        ({"background": 0, "whole": [1, 2], "core": 2}, [1], "regions_class_order does not fit"),
        ({"background": 0, "whole": [1, 2], "core": 2}, None, "regions_class_order does not fit"),
        ({"background": 0, "liver": "1"}, None, "not a number: received liver: 1"),
    ],
)
def test_labels_that_cannot_be_served_are_refused(labels, order, message):
    dataset = v2_dataset() | {"labels": labels} | ({} if order is None else {"regions_class_order": order})
    with pytest.raises(DataError, match=message):
        plan_from_v2(v2_plans(), dataset, "3d_fullres")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network_class_name": "dynamic_network_architectures.architectures.primus.Primus"}, "received Primus"),
        ({"norm_op": "torch.nn.modules.normalization.GroupNorm"}, "torch.nn.modules.normalization.GroupNorm"),
        ({"nonlin": "os.system"}, "os.system"),
        ({"conv_op": "torch.nn.Conv2d"}, "torch.nn.Conv2d for a window of 3 axes"),
        ({"squeeze_excitation": True}, "PlainConvUNet with squeeze_excitation"),
    ],
)
def test_unknown_networks_and_layers_are_refused_by_name(changes, message):
    plans = v2_plans()
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["arch_kwargs"] |= {key: value for key, value in changes.items() if key != "network_class_name"}
    architecture |= {key: value for key, value in changes.items() if key == "network_class_name"}
    with pytest.raises(DataError, match=message):
        plan_from_v2(plans, v2_dataset(), "3d_fullres")


def test_unsupported_plans_are_refused_by_name():
    for key, where in (("label_manager", v2_plans()), ("preprocessor_name", None)):
        plans = where or v2_plans()
        (plans if where else plans["configurations"]["3d_fullres"])[key] = "MyOwn"
        with pytest.raises(DataError, match="MyOwn"):
            plan_from_v2(plans, v2_dataset(), "3d_fullres")


def test_a_data_set_with_another_number_of_channels_is_refused():
    with pytest.raises(DataError, match="different channels"):
        plan_from_v2(v2_plans(), v2_dataset() | {"channel_names": {"0": "T1", "1": "T2"}}, "3d_fullres")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("features_per_stage", [8, float("inf"), 32]),
        ("features_per_stage", [8, float("nan"), 32]),
        ("n_stages", 10**12),
    ],
)
def test_numbers_that_no_network_has_are_refused(name, value):
    """JSON as Python reads it knows Infinity and NaN."""
    plans = v2_plans()
    options = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    options |= {"features_per_stage": 8, name: value}
    with pytest.raises(DataError, match=r"plans\.json"):
        plan_from_v2(plans, v2_dataset(), "3d_fullres")


def test_a_missing_entry_is_named():
    plans = v1_plans()
    del plans["transpose_forward"]
    with pytest.raises(DataError, match="transpose_forward"):
        plan_from_v1(plans)


@pytest.mark.parametrize("old_form", [False, True])
@pytest.mark.parametrize("configuration", ["3d_fullres", "3d_lowres"])
def test_v2_plans_are_read_as_nnunetv2_reads_them(old_form, configuration):
    handler = pytest.importorskip("nnunetv2.utilities.plans_handling.plans_handler")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the old form
        theirs = handler.PlansManager(v2_plans(old_form)).get_configuration(configuration)
    plan = plan_from_v2(v2_plans(old_form), v2_dataset(), configuration)
    assert list(plan.spacing_mm) == theirs.spacing
    assert [list(stride) for stride in plan.pools] == theirs.pool_op_kernel_sizes[1:]
    network = theirs.network_arch_init_kwargs
    widths = [min(plan.base_features * 2**stage, plan.largest_width) for stage in range(len(plan.kernels))]
    assert widths == network["features_per_stage"]
    assert plan.interpolation_order == theirs.resampling_fn_data.keywords["order"]
