"""UNet has Pytorch-UNet's keys and equals the plain formulas of its architecture at any size."""

from __future__ import annotations

import copy
import hashlib
import warnings

import pytest
import torch
from torch.nn import functional

from helpers.networks.unet import UNet
from tests.networks.weight_rule import rule_input, rule_state_dict

# Entries, parameters, and a hash over lines "key shape dtype" of unet.UNet(n_channels=3, n_classes=1, ...) in
# milesial/Pytorch-UNet at 6aa14cb, built with torch 2.13.0.
OFFICIAL = {
    False: (136, 31_043_521, "3222676245e5213e471917eb5a2244915dfa192f78c5240f25f78490175abbcd"),
    True: (128, 17_267_393, "ffd371a08f2995826a8c2dccb829c9a45621ee2a1232bf4bbd4ee9e617f0abc3"),
}


def rule_network(bilinear: bool, base_channels: int = 4) -> UNet:
    network = UNet(bilinear=bilinear, base_channels=base_channels).eval()
    network.load_state_dict(rule_state_dict(network.state_dict()), strict=True)
    return network


def plain_block(state, x, name):
    for conv, norm in ((0, 1), (3, 4)):
        x = functional.conv2d(x, state[f"{name}.{conv}.weight"], state[f"{name}.{conv}.bias"], padding=1)
        mean, var = (state[f"{name}.{norm}.running_{part}"][:, None, None] for part in ("mean", "var"))
        scale, shift = (state[f"{name}.{norm}.{part}"][:, None, None] for part in ("weight", "bias"))
        x = ((x - mean) / torch.sqrt(var + 1e-5) * scale + shift).clamp(min=0)
    return x


def plain_up(state, x, name, bilinear):
    if not bilinear:
        return functional.conv_transpose2d(x, state[f"{name}.up.weight"], state[f"{name}.up.bias"], stride=2)
    size = [2 * side for side in x.shape[2:]]
    return functional.interpolate(x, size, mode="bilinear", align_corners=True)


def plain_unet(state, x, bilinear):
    skips = [plain_block(state, x, "inc.double_conv")]
    for level in (1, 2, 3, 4):
        pooled = functional.max_pool2d(skips[-1], 2)
        skips.append(plain_block(state, pooled, f"down{level}.maxpool_conv.1.double_conv"))
    x = skips.pop()
    for level in (1, 2, 3, 4):
        x, skip = plain_up(state, x, f"up{level}", bilinear), skips.pop()
        # A side is at most one pixel short, and the missing row or column of zeros comes last.
        filled = torch.zeros(*x.shape[:2], *skip.shape[2:], dtype=x.dtype)
        filled[:, :, : x.shape[2], : x.shape[3]] = x
        x = plain_block(state, torch.cat([skip, filled], 1), f"up{level}.conv.double_conv")
    return functional.conv2d(x, state["outc.conv.weight"], state["outc.conv.bias"])


@pytest.mark.parametrize("bilinear", [False, True])
def test_official_network_has_upstreams_keys_shapes_and_types(bilinear):
    state = UNet(bilinear=bilinear).state_dict()
    lines = [f"{k} {tuple(v.shape)} {str(v.dtype).removeprefix('torch.')}" for k, v in state.items()]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert (len(lines), digest) == (OFFICIAL[bilinear][0], OFFICIAL[bilinear][2])


@pytest.mark.parametrize("bilinear", [False, True])
def test_official_network_has_the_published_number_of_parameters(bilinear):
    assert sum(p.numel() for p in UNet(bilinear=bilinear).parameters()) == OFFICIAL[bilinear][1]


@pytest.mark.parametrize("bilinear", [False, True])
@pytest.mark.parametrize("size", [(64, 96), (71, 101), (79, 47), (16, 31)])
@torch.no_grad()
def test_logits_equal_the_plain_formulas_at_even_and_odd_sizes(bilinear, size):
    network = copy.deepcopy(rule_network(bilinear)).double()  # so that rounding cannot hide an incorrect epsilon
    x = rule_input(3, (2, 3, *size)).double()
    logits = network(x)
    assert logits.shape == (2, 1, *size)
    torch.testing.assert_close(logits, plain_unet(network.state_dict(), x, bilinear), rtol=1e-9, atol=1e-9)


def test_width_and_channels_follow_the_arguments():
    state = UNet(n_channels=1, n_classes=2, base_channels=6).state_dict()
    assert state["inc.double_conv.0.weight"].shape == (6, 1, 3, 3)
    assert state["down4.maxpool_conv.1.double_conv.3.weight"].shape == (96, 96, 3, 3)
    assert state["outc.conv.weight"].shape == (2, 6, 1, 1)


@torch.no_grad()
def test_a_traced_graph_accepts_any_batch_and_has_constant_pads():
    network = rule_network(False, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the pads are meant to be constants, and tracing is what is tested
        traced = torch.jit.trace(network, rule_input(1, (1, 3, 47, 36)))
    batch = rule_input(2, (3, 3, 47, 36))
    torch.testing.assert_close(traced(batch), network(batch))
    kinds = [node.kind() for node in traced.inlined_graph.nodes()]
    assert kinds.count("aten::pad") == 4  # upstream pads in every decoder step, also by zero
    assert "aten::size" not in kinds
