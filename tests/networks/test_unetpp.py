"""GenericUNetPlusPlus has upstream's keys and equals the definition of the nodes of UNet++."""

from __future__ import annotations

import copy
import hashlib

import pytest
import torch
from torch.nn import functional

from helpers.networks.unetpp import GenericUNetPlusPlus
from tests.networks.weight_rule import rule_input, rule_state_dict

# Entries, parameters, and a hash over lines "key shape dtype" of Generic_UNetPlusPlus in MrGiovanni/UNetPlusPlus
# at e145ba6, with the plan of Task003_Liver 3d_fullres.
OFFICIAL = (188, 45_966_784, "c9dca118b0e8d9ba2b6971c51bf8b9104da1766a79cb9dfa947899cb5c242764")


def rule_network(num_pool: int, **arguments) -> GenericUNetPlusPlus:
    network = GenericUNetPlusPlus.liver(2, num_pool, **arguments).eval()
    network.load_state_dict(rule_state_dict(network.state_dict()), strict=True)
    return network


def plain_unit(state, x, name, stride=1):
    x = functional.conv3d(x, state[f"{name}.conv.weight"], state[f"{name}.conv.bias"], stride, 1)
    mean, var = x.mean((2, 3, 4), keepdim=True), x.var((2, 3, 4), unbiased=False, keepdim=True)
    scale, shift = (state[f"{name}.instnorm.{part}"][:, None, None, None] for part in ("weight", "bias"))
    x = (x - mean) / torch.sqrt(var + 1e-5) * scale + shift
    return torch.where(x > 0, x, 0.01 * x)


def plain_unetpp(state, image, depth):
    """X(level, j) by its recursive definition."""
    known = {}

    def node(level, j):
        if (level, j) not in known:
            known[level, j] = encoder(level) if j == 0 else inner(level, j)
        return known[level, j]

    def encoder(level):
        below = image if level == 0 else node(level - 1, 0)
        names = (
            (f"{level}.blocks.0", f"{level}.blocks.1")
            if level < depth
            else (f"{level}.0.blocks.0", f"{level}.1.blocks.0")
        )
        x = plain_unit(state, below, f"conv_blocks_context.{names[0]}", 1 if level == 0 else 2)
        return plain_unit(state, x, f"conv_blocks_context.{names[1]}")

    def inner(level, j):
        diagonal = level + j
        z, index = depth - diagonal, diagonal - 1 - level
        up = functional.conv_transpose3d(node(level + 1, j - 1), state[f"up{z}.{index}.weight"], stride=2)
        x = torch.cat([*(node(level, k) for k in range(j)), up], 1)
        x = plain_unit(state, x, f"loc{z}.{index}.0.blocks.0")
        return plain_unit(state, x, f"loc{z}.{index}.1.blocks.0")

    return [functional.conv3d(node(0, depth - i), state[f"seg_outputs.{i}.weight"]) for i in range(depth)]


def test_official_network_has_upstreams_keys_shapes_and_parameters():
    with torch.device("meta"):  # only the shapes matter
        network = GenericUNetPlusPlus.liver()
    lines = [f"{k} {tuple(v.shape)} {str(v.dtype).removeprefix('torch.')}" for k, v in network.state_dict().items()]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert (len(lines), sum(p.numel() for p in network.parameters()), digest) == OFFICIAL


@pytest.mark.parametrize(("num_pool", "size"), [(5, (32, 64, 32)), (3, (8, 16, 24)), (1, (4, 2, 6))])
@torch.no_grad()
def test_outputs_equal_the_plain_formulas(num_pool, size):
    network = copy.deepcopy(rule_network(num_pool, max_num_features=6)).double()
    x = rule_input(5, (1, 1, *size)).double()
    outputs = network(x)
    assert len(outputs) == num_pool
    for ours, theirs in zip(outputs, plain_unetpp(network.state_dict(), x, num_pool), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_without_deep_supervision_only_the_deepest_node_is_returned():
    network = rule_network(3)
    x = rule_input(1, (1, 1, 16, 8, 24))
    outputs = network(x)
    assert {output.shape for output in outputs} == {torch.Size((1, 3, 16, 8, 24))}
    network.do_ds = False
    torch.testing.assert_close(network(x), outputs[0], rtol=0, atol=0)


@pytest.mark.parametrize("arguments", [{}, {"max_num_features": 10}, {"num_conv_per_stage": 3}])
def test_a_network_is_rebuilt_from_its_state_dict(arguments):
    pools = [(1, 2, 2), (2, 2, 2), (2, 2, 2)]
    kernels = [(1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)]
    network = GenericUNetPlusPlus(2, 4, pools, conv_kernel_sizes=kernels, base_num_features=4, **arguments)
    state = network.state_dict()
    again = GenericUNetPlusPlus.from_state_dict(state).state_dict()
    assert {key: value.shape for key, value in again.items()} == {key: value.shape for key, value in state.items()}
    assert list(again) == list(state)
