"""GenericUNet has nnU-Net v1's keys and equals the plain formulas of its architecture."""

from __future__ import annotations

import copy
import hashlib

import pytest
import torch
from torch.nn import functional

from helpers.networks.nnunet import GenericUNet
from tests.networks.weight_rule import rule_input, rule_state_dict

# Entries, parameters, and a hash over lines "key shape dtype" of Generic_UNet in MIC-DKFZ/nnUNet v1.7.1.
OFFICIAL = {
    "heart_2d": (116, 29_966_112, "6f2407a91840754a17aeabbedb112843465b5e3424d9169b73be19b1e4998ac5"),
    "heart_3d_fullres": (98, 30_785_184, "fac9d6dc2ef5e5f430c6b9108e5889a5275d638c381c9cf36463e75be9d00ffb"),
}
ANISOTROPIC = {"pool_op_kernel_sizes": [(1, 2, 2), (2, 2, 2)], "conv_kernel_sizes": [(1, 3, 3), (3, 3, 3), (3, 3, 3)]}


def rule_network(**arguments) -> GenericUNet:
    network = GenericUNet(**arguments).eval()
    network.load_state_dict(rule_state_dict(network.state_dict()), strict=True)
    return network


def plain_unit(state, x, name, stride=1):
    kernel = state[f"{name}.conv.weight"]
    convolve = functional.conv2d if kernel.ndim == 4 else functional.conv3d
    padding = [(side - 1) // 2 for side in kernel.shape[2:]]
    x = convolve(x, kernel, state[f"{name}.conv.bias"], stride=stride, padding=padding)
    spatial = tuple(range(2, x.ndim))
    mean, var = x.mean(spatial, keepdim=True), x.var(spatial, unbiased=False, keepdim=True)
    scale, shift = (
        state[f"{name}.instnorm.{part}"].reshape(1, -1, *[1] * len(spatial)) for part in ("weight", "bias")
    )
    x = (x - mean) / torch.sqrt(var + 1e-5) * scale + shift
    return torch.where(x > 0, x, 0.01 * x)


def plain_unet(state, x, pools):
    depth = len(pools)
    flat = len(pools[0]) == 2
    convolve, grow = (
        (functional.conv2d, functional.conv_transpose2d) if flat else (functional.conv3d, functional.conv_transpose3d)
    )
    skips = []
    for stage in range(depth):
        x = plain_unit(state, x, f"conv_blocks_context.{stage}.blocks.0", 1 if stage == 0 else pools[stage - 1])
        x = plain_unit(state, x, f"conv_blocks_context.{stage}.blocks.1")
        skips.append(x)
    x = plain_unit(state, x, f"conv_blocks_context.{depth}.0.blocks.0", pools[-1])
    x = plain_unit(state, x, f"conv_blocks_context.{depth}.1.blocks.0")
    outputs = []
    for step in range(depth):
        x = grow(x, state[f"tu.{step}.weight"], state.get(f"tu.{step}.bias"), stride=pools[depth - 1 - step])
        x = torch.cat([x, skips.pop()], 1)
        for unit in (0, 1):
            x = plain_unit(state, x, f"conv_blocks_localization.{step}.{unit}.blocks.0")
        outputs.insert(0, convolve(x, state[f"seg_outputs.{step}.weight"], state.get(f"seg_outputs.{step}.bias")))
    return outputs


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_networks_have_upstreams_keys_shapes_and_parameters(name):
    with torch.device("meta"):  # only the shapes matter
        network = getattr(GenericUNet, name)()
    lines = [f"{k} {tuple(v.shape)} {str(v.dtype).removeprefix('torch.')}" for k, v in network.state_dict().items()]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert (len(lines), sum(p.numel() for p in network.parameters()), digest) == OFFICIAL[name]


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({"pool_op_kernel_sizes": [(2, 2)] * 3}, (24, 40)),
        ({"pool_op_kernel_sizes": [(2, 2, 2), (1, 2, 2)], "input_channels": 2, "num_classes": 4}, (6, 12, 8)),
        (ANISOTROPIC, (6, 12, 8)),
        ({"pool_op_kernel_sizes": [(2, 2)] * 2, "decoder_bias": True}, (12, 8)),
    ],
    ids=["flat", "heart-like", "anisotropic", "v2-like"],
)
@torch.no_grad()
def test_outputs_equal_the_plain_formulas(arguments, size):
    network = copy.deepcopy(rule_network(base_num_features=3, max_num_features=10, **arguments)).double()
    x = rule_input(5, (2, arguments.get("input_channels", 1), *size)).double()
    expected = plain_unet(network.state_dict(), x, arguments["pool_op_kernel_sizes"])
    outputs = network(x)
    assert isinstance(outputs, tuple)
    assert len(outputs) == len(expected)
    for ours, theirs in zip(outputs, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_without_deep_supervision_only_the_full_resolution_is_returned():
    network = rule_network(pool_op_kernel_sizes=[(2, 2)] * 3, base_num_features=3)
    x = rule_input(1, (1, 1, 16, 24))
    outputs = network(x)
    assert [tuple(output.shape[2:]) for output in outputs] == [(16, 24), (8, 12), (4, 6)]
    network.do_ds = False
    torch.testing.assert_close(network(x), outputs[0], rtol=0, atol=0)


def test_fewer_features_and_steps_make_a_smaller_network():
    state = GenericUNet.heart_3d_fullres(base_num_features=4, num_pool=3).state_dict()
    assert state["conv_blocks_context.0.blocks.0.conv.weight"].shape == (4, 1, 3, 3, 3)
    assert state["conv_blocks_context.3.1.blocks.0.conv.weight"].shape == (32, 32, 3, 3, 3)
    assert state["tu.0.weight"].shape == (32, 16, 2, 2, 2)


@pytest.mark.parametrize(
    "arguments",
    [
        {"pool_op_kernel_sizes": [(2, 2)] * 7, "base_num_features": 8},
        {"pool_op_kernel_sizes": [(2, 2, 2)] * 2 + [(1, 2, 2)], "num_classes": 5, "input_channels": 4},
        {**ANISOTROPIC, "base_num_features": 6, "max_num_features": 10, "num_conv_per_stage": 3},
        {**ANISOTROPIC, "decoder_kernel_sizes": [(3, 3, 3), (1, 3, 3)], "decoder_bias": True},
    ],
    ids=["capped", "heart-like", "three-convolutions", "v2-like"],
)
def test_a_network_is_rebuilt_from_its_state_dict(arguments):
    state = GenericUNet(**{"base_num_features": 4, **arguments}).state_dict()
    again = GenericUNet.from_state_dict(state).state_dict()
    assert {key: value.shape for key, value in again.items()} == {key: value.shape for key, value in state.items()}
    assert list(again) == list(state)
