"""The networks of nnU-Net v2 have upstream's keys, shapes and outputs, for its planners' plans and unusual ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.data.nnunet.network_plan import network_of_v2
from helpers.errors import CheckpointError
from helpers.networks.nnunet_v2 import own_keys
from helpers.recipes.nnunet_networks import build_planned
from tests.networks.weight_rule import rule_input, rule_state_dict

UNETS = "dynamic_network_architectures.architectures.unet."
BLOCKS = "dynamic_network_architectures.building_blocks.residual."


def settings(kind: str, dims: int, **changes) -> dict:
    """A configuration of three stages, the first of them anisotropic."""
    counts = "n_blocks_per_stage" if kind == "ResidualEncoderUNet" else "n_conv_per_stage"
    arguments = {
        "n_stages": 3,
        "features_per_stage": [4, 8, 8],
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
        "kernel_sizes": [[1, 3, 3][-dims:], [3] * dims, [3] * dims],
        "strides": [[1] * dims, [1, 2, 2][-dims:], [2] * dims],
        counts: [1, 3, 4],
        "n_conv_per_stage_decoder": [1, 2],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    architecture = {
        "network_class_name": UNETS + kind,
        "arch_kwargs": arguments | changes,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    return {"patch_size": [8] * dims, "architecture": architecture}


CASES = {
    "plain": ("PlainConvUNet", 3, {}),
    "plain_2d": ("PlainConvUNet", 2, {}),
    "residual": ("ResidualEncoderUNet", 3, {}),
    "residual_2d": ("ResidualEncoderUNet", 2, {}),
    "batch_norm_and_relu": (
        "ResidualEncoderUNet",
        3,
        {"norm_op": "torch.nn.modules.batchnorm.BatchNorm3d", "nonlin": "torch.nn.ReLU", "conv_bias": False},
    ),
    "dropout": (
        "PlainConvUNet",
        2,
        {"dropout_op": "torch.nn.modules.dropout.Dropout2d", "dropout_op_kwargs": {"p": 0.5}},
    ),
    "no_norm": ("PlainConvUNet", 3, {"norm_op": None, "norm_op_kwargs": None}),
    "activation_first": ("PlainConvUNet", 2, {"nonlin_first": True, "nonlin": "torch.nn.PReLU", "nonlin_kwargs": {}}),
    "bottleneck": (
        "ResidualEncoderUNet",
        3,
        {"block": BLOCKS + "BottleneckD", "bottleneck_channels": [2, 4, 4], "stem_channels": 6},
    ),
    "one_number_for_all_stages": ("PlainConvUNet", 3, {"n_conv_per_stage": 2, "n_conv_per_stage_decoder": 2}),
}


def theirs_of(content: dict, inputs: int, classes: int) -> torch.nn.Module:
    nets = pytest.importorskip("nnunetv2.utilities.get_network_from_plans")
    architecture = content["architecture"]
    arguments, named = dict(architecture["arch_kwargs"]), list(architecture["_kw_requires_import"])
    named += ["block"] if "block" in arguments else []
    return nets.get_network_from_plans(
        architecture["network_class_name"], arguments, named, inputs, classes, deep_supervision=True
    ).eval()


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_keys_shapes_and_outputs_are_upstream_s(case):
    kind, dims, changes = CASES[case]
    content = settings(kind, dims, **changes)
    theirs = theirs_of(content, 2, 3)
    weights = own_keys(theirs.state_dict())
    ours = build_planned(network_of_v2(content), 2, 3).eval()
    assert {key: value.shape for key, value in ours.state_dict().items()} == {
        key: value.shape for key, value in weights.items()
    }
    state = rule_state_dict(weights)
    theirs.load_state_dict(state, strict=False)
    ours.load_state_dict(state, strict=True)
    ours.do_ds = True
    x = rule_input(3, (1, 2, 4, 12, 8) if dims == 3 else (1, 2, 12, 8))
    mine, other = ours(x), theirs(x)
    assert len(mine) == len(other) == 2
    for first, second in zip(mine, other, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
    ours.do_ds = False
    torch.testing.assert_close(ours(x), other[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_official_residual_encoder_has_upstream_s_keys(dims):
    planners = pytest.importorskip("nnunetv2.experiment_planning.experiment_planners.residual_unets")
    source = Path(next(iter(planners.__path__)), "residual_encoder_unet_planners.py").read_text(encoding="utf-8")
    assert "UNet_blocks_per_stage_encoder = (1, 3, 4, 6, 6, 6, 6," in source  # of the presets M, L and XL alike
    content = settings(
        "ResidualEncoderUNet",
        dims,
        n_stages=7,
        features_per_stage=[min(32 * 2**stage, 320 if dims == 3 else 512) for stage in range(7)],
        kernel_sizes=[[3] * dims] * 7,
        strides=[[1] * dims, *[[2] * dims] * 6],
        n_blocks_per_stage=[1, 3, 4, 6, 6, 6, 6],
        n_conv_per_stage_decoder=[1] * 6,
    )
    with torch.device("meta"):
        theirs, ours = theirs_of(content, 1, 4), build_planned(network_of_v2(content), 1, 4)
    expected = {key: value.shape for key, value in theirs.state_dict().items() if "all_modules" not in key}
    expected = {key: shape for key, shape in expected.items() if not key.startswith("decoder.encoder.")}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected


def test_a_repetition_that_differs_is_refused():
    first = {"encoder.stages.0.0.convs.0.conv.weight": torch.zeros(1)}
    for name in ("encoder.stages.0.0.convs.0.all_modules.0.weight", "decoder.encoder.stages.0.0.convs.0.conv.weight"):
        assert own_keys(first | {name: torch.zeros(1)}) == first
        with pytest.raises(CheckpointError, match=name):
            own_keys(first | {name: torch.ones(1)})
