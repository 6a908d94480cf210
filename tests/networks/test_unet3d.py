"""UNet3D has MedicalZooPytorch's keys and equals the plain formulas of its architecture."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch.nn import functional

from helpers.networks.unet3d import UNet3D
from tests.networks.weight_rule import rule_input, rule_state_dict

# Entries, parameters, and a hash over lines "key shape dtype" of UNet3D(in_channels=4, n_classes=4, base_n_filter=8)
# in black0017/MedicalZooPytorch at 8f40dab.
OFFICIAL = (26, 1_782_176, "592aab7748f361af0c6c950898b68aeda2268538326f154d20ce6b16516e77c5")


def conv(state, x, name, stride=1):
    weight = state[f"{name}.weight"]
    return functional.conv3d(x, weight, stride=stride, padding=weight.shape[-1] // 2)


def norm(x):
    mean = x.mean(dim=(2, 3, 4), keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=(2, 3, 4), keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5)


def lrelu(x):
    return torch.where(x > 0, x, 0.01 * x)


def double(x):
    for axis in (2, 3, 4):
        x = x.repeat_interleave(2, dim=axis)
    return x


def upscale(state, x, name):
    return lrelu(norm(conv(state, double(lrelu(norm(x))), f"{name}.3")))


def residual_level(state, x, level):
    residual = conv(state, x, f"conv3d_c{level}", stride=2)
    y = residual
    for _ in range(2):
        y = conv(state, lrelu(norm(y)), f"norm_lrelu_conv_c{level}.2")
    return y + residual


def plain_unet3d(state, x):
    residual = conv(state, x, "conv3d_c1_1")
    x = conv(state, lrelu(residual), "conv3d_c1_2")
    x = conv(state, lrelu(x), "lrelu_conv_c1.1") + residual
    skips = {1: lrelu(x)}
    x = lrelu(norm(x))
    for level in (2, 3, 4):
        x = skips[level] = lrelu(norm(residual_level(state, x, level)))
    x = upscale(state, residual_level(state, x, 5), "norm_lrelu_upscale_conv_norm_lrelu_l0")
    x = lrelu(norm(conv(state, x, "conv3d_l0")))
    branches = {}
    for step, level in ((1, 4), (2, 3), (3, 2)):
        x = torch.cat([x, skips[level]], dim=1)
        x = branches[step] = lrelu(norm(conv(state, x, f"conv_norm_lrelu_l{step}.0")))
        x = upscale(state, conv(state, x, f"conv3d_l{step}"), f"norm_lrelu_upscale_conv_norm_lrelu_l{step}")
    x = torch.cat([x, skips[1]], dim=1)
    x = conv(state, lrelu(norm(conv(state, x, "conv_norm_lrelu_l4.0"))), "conv3d_l4")
    coarse = double(conv(state, branches[2], "ds2_1x1_conv3d")) + conv(state, branches[3], "ds3_1x1_conv3d")
    return x + double(coarse)


def rule_network(base_n_filter: int) -> UNet3D:
    network = UNet3D(base_n_filter=base_n_filter).eval()
    network.load_state_dict(rule_state_dict(network.state_dict()), strict=True)
    return network


def test_official_network_has_upstreams_keys_shapes_and_types():
    state = UNet3D().state_dict()
    lines = [f"{k} {tuple(v.shape)} {str(v.dtype).removeprefix('torch.')}" for k, v in state.items()]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert (len(lines), digest) == (OFFICIAL[0], OFFICIAL[2])


def test_official_network_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in UNet3D().parameters()) == OFFICIAL[1]


@pytest.mark.parametrize("shape", [(1, 4, 32, 32, 32), (2, 4, 16, 48, 32)])
@torch.no_grad()
def test_logits_equal_the_plain_formulas(shape):
    network = rule_network(2).double()  # so that rounding cannot hide an incorrect epsilon
    x = rule_input(1, shape).double()
    logits = network(x)
    assert logits.shape == shape
    torch.testing.assert_close(logits, plain_unet3d(network.state_dict(), x), rtol=1e-8, atol=1e-8)


@torch.no_grad()
def test_float32_is_close_to_the_plain_formulas_in_float64():
    network = rule_network(2)
    x = rule_input(1, (1, 4, 32, 32, 32))
    expected = plain_unet3d({k: v.double() for k, v in network.state_dict().items()}, x.double())
    assert (network(x) - expected).abs().max() / expected.abs().max() <= 5e-5


@torch.no_grad()
def test_dropout_is_off_in_eval_and_on_in_training():
    network = rule_network(2)
    x = rule_input(1, (1, 4, 32, 32, 32))
    assert torch.equal(network(x), network(x))
    network.train()
    assert not torch.equal(network(x), network(x))


def test_width_and_channels_follow_the_arguments():
    state = UNet3D(in_channels=2, n_classes=3, base_n_filter=5).state_dict()
    assert state["conv3d_c1_1.weight"].shape == (5, 2, 3, 3, 3)
    assert state["norm_lrelu_conv_c5.2.weight"].shape == (80, 80, 3, 3, 3)
    assert state["conv3d_l4.weight"].shape == (3, 10, 1, 1, 1)
