"""Weights of v2 fit GenericUNet under v1's keys and give the outputs of v2's own network."""

from __future__ import annotations

import hashlib

import pytest
import torch

from helpers.errors import CheckpointError
from helpers.networks.nnunet import GenericUNet, rename_v2_keys
from tests.networks.weight_rule import rule_input, rule_state_dict

# Hash over lines "v1 v2" of the names of the 3-D heart network, in the order of v1's state dict: v1 of
# MIC-DKFZ/nnUNet v1.7.1, v2 of MIC-DKFZ/dynamic-network-architectures d35f85c.
HEART_NAMES = "ad92f911c3b63f0544424b7d34c6c05bc285bac5e9f30c4302fe11a82dd91f4b"


def v2_names(depth: int, count: int = 2) -> list[str]:
    """The keys of v2's state dict, from the layout of its classes, including aliases."""

    def unit(prefix):
        parts = (("conv", "norm"), ("all_modules.0", "all_modules.1"))
        return [f"{prefix}.{part}.{leaf}" for pair in parts for part in pair for leaf in ("weight", "bias")]

    encoder = [
        name
        for stage in range(depth + 1)
        for c in range(count)
        for name in unit(f"encoder.stages.{stage}.0.convs.{c}")
    ]
    stages = [
        name for step in range(depth) for c in range(count) for name in unit(f"decoder.stages.{step}.convs.{c}")
    ]
    leaves = [
        f"decoder.{part}.{step}.{leaf}"
        for part in ("transpconvs", "seg_layers")
        for step in range(depth)
        for leaf in ("weight", "bias")
    ]
    return [*encoder, *stages, *leaves, *(f"decoder.{name}" for name in encoder)]


def test_every_key_of_the_heart_network_is_renamed_as_upstream_s_modules_correspond():
    names = v2_names(5)
    assert len(names) == 292
    mapped = rename_v2_keys({name: torch.tensor(index) for index, name in enumerate(names)})
    with torch.device("meta"):
        expected = GenericUNet.heart_3d_fullres(decoder_bias=True).state_dict()
    assert mapped.keys() == expected.keys()
    without_biases = GenericUNet.heart_3d_fullres(base_num_features=1, max_num_features=1).state_dict()
    lines = [f"{key} {names[int(mapped[key])]}" for key in without_biases]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == HEART_NAMES


def test_three_convolutions_per_stage_keep_their_order():
    mapped = rename_v2_keys({name: torch.tensor(0) for name in v2_names(2, 3)})
    pools = [(2, 2)] * 2
    with torch.device("meta"):
        network = GenericUNet(1, 2, pools, num_conv_per_stage=3, decoder_bias=True)
    assert mapped.keys() == network.state_dict().keys()


def test_v1_keys_are_left_alone():
    state = GenericUNet(1, 2, [(2, 2)], base_num_features=2).state_dict()
    assert rename_v2_keys(state) == dict(state)


def test_a_residual_encoder_is_rejected_with_its_key():
    with pytest.raises(CheckpointError, match=r"encoder\.stem\.convs\.0\.conv\.weight"):
        rename_v2_keys({"encoder.stem.convs.0.conv.weight": torch.zeros(1)})


@torch.no_grad()
def test_the_network_of_v2_computes_the_same_outputs():
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    kernels, strides = [(1, 3, 3), (3, 3, 3), (3, 3, 3)], [(1, 1, 1), (1, 2, 2), (2, 2, 2)]
    theirs = unet.PlainConvUNet(
        2,
        3,
        [4, 8, 8],
        torch.nn.Conv3d,
        kernels,
        strides,
        2,
        3,
        2,
        conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    ).eval()
    plain = {key: value for key, value in theirs.state_dict().items() if "all_modules" not in key}
    weights = rule_state_dict({key: value for key, value in plain.items() if not key.startswith("decoder.encoder")})
    theirs.load_state_dict(weights, strict=False)
    state = rename_v2_keys(theirs.state_dict())
    ours = GenericUNet.from_state_dict(state).eval()
    ours.load_state_dict(state, strict=True)
    x = rule_input(3, (1, 2, 6, 12, 8))
    for mine, other in zip(ours(x), theirs(x), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-6)
