"""FCN-R50-D8 has mmsegmentation's keys and equals the plain formulas of its architecture."""

from __future__ import annotations

import copy
import hashlib

import pytest
import torch
from torch.nn import functional

from helpers.networks.fcn import ClassMap, FCNResNet50D8
from tests.networks.weight_rule import rule_input, rule_state_dict

SMALL = {"num_classes": 5, "base_channels": 4, "head_channels": 6, "auxiliary_channels": 3}
STAGES = {  # stage: (blocks of the official network, stride, dilation of the first block, of the others)
    1: (3, 1, 1, 1),
    2: (4, 2, 1, 1),
    3: (6, 1, 1, 2),
    4: (3, 1, 2, 4),
}


@pytest.fixture(scope="module")
def small() -> FCNResNet50D8:
    network = FCNResNet50D8(**SMALL).eval()
    network.load_state_dict(rule_state_dict(network.state_dict()), strict=True)
    return network


def conv_norm(state, x, conv, norm, stride=1, padding=0, dilation=1):
    x = functional.conv2d(x, state[f"{conv}.weight"], None, stride, padding, dilation)
    mean, var = (state[f"{norm}.running_{name}"][None, :, None, None] for name in ("mean", "var"))
    scale, shift = (state[f"{norm}.{name}"][None, :, None, None] for name in ("weight", "bias"))
    return (x - mean) / torch.sqrt(var + 1e-5) * scale + shift


def plain_backbone(state, x):
    for conv, stride in ((0, 2), (3, 1), (6, 1)):
        x = conv_norm(state, x, f"backbone.stem.{conv}", f"backbone.stem.{conv + 1}", stride, 1).clamp(min=0)
    outputs = []
    x = functional.max_pool2d(x, 3, 2, 1)
    for stage, (depth, stride, first, others) in STAGES.items():
        for index in range(depth):
            name = f"backbone.layer{stage}.{index}"
            step, dilation = (stride, first) if index == 0 else (1, others)
            shortcut = x
            if index == 0:
                shortcut = conv_norm(state, x, f"{name}.downsample.0", f"{name}.downsample.1", step)
            x = conv_norm(state, x, f"{name}.conv1", f"{name}.bn1").clamp(min=0)
            x = conv_norm(state, x, f"{name}.conv2", f"{name}.bn2", step, dilation, dilation).clamp(min=0)
            x = (conv_norm(state, x, f"{name}.conv3", f"{name}.bn3") + shortcut).clamp(min=0)
        outputs.append(x)
    return outputs


def plain_heads(state, x):
    def conv(x, name):
        return conv_norm(state, x, f"{name}.conv", f"{name}.bn", padding=1).clamp(min=0)

    def classify(x, head):
        return functional.conv2d(x, state[f"{head}.conv_seg.weight"], state[f"{head}.conv_seg.bias"])

    *_, third, fourth = plain_backbone(state, x)
    deep = conv(conv(fourth, "decode_head.convs.0"), "decode_head.convs.1")
    deep = conv(torch.cat([fourth, deep], 1), "decode_head.conv_cat")
    return classify(deep, "decode_head"), classify(conv(third, "auxiliary_head.convs.0"), "auxiliary_head")


def test_official_network_has_mmsegmentations_keys_shapes_and_types():
    # Hash over lines "key shape dtype" of EncoderDecoder as mmsegmentation 0.27.0 builds it (PyPI, mmcv 1.6.1)
    # from fcn_r50-d8_512x512_20k_voc12aug.py with SyncBN replaced by BN; 0.6.0, 0.30.0 and 1.2.2 agree.
    state = FCNResNet50D8().state_dict()
    lines = [f"{k} {tuple(v.shape)} {str(v.dtype).removeprefix('torch.')}" for k, v in state.items()]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert len(lines) == 358
    assert digest == "bde0f887fc8457f0dc4309c45c07919e908bfb308dae3d892df73291440b5330"


def test_official_network_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in FCNResNet50D8().parameters()) == 49_499_274


@pytest.mark.parametrize("size", [(64, 64), (97, 65), (83, 113)])
@torch.no_grad()
def test_heads_and_resized_logits_equal_the_plain_formulas(small, size):
    x = rule_input(1, (2, 3, *size)).double()  # so that rounding cannot hide an incorrect epsilon
    network = copy.deepcopy(small).double()
    decode, auxiliary = plain_heads(network.state_dict(), x)
    got_decode, got_auxiliary = network.forward_heads(x)
    torch.testing.assert_close(got_decode, decode, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(got_auxiliary, auxiliary, rtol=1e-9, atol=1e-9)
    resized = functional.interpolate(decode, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(x), resized, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_stride_is_8_and_halvings_round_up(small):
    assert small.forward_heads(rule_input(1, (1, 3, 97, 65)))[0].shape == (1, 5, 13, 9)


@torch.no_grad()
def test_forward_does_not_run_the_auxiliary_head():
    network = FCNResNet50D8(**SMALL).eval()
    network.auxiliary_head.forward = None  # calling it would raise
    assert network(rule_input(1, (1, 3, 32, 32))).shape == (1, 5, 32, 32)


@torch.no_grad()
def test_class_map_puts_the_batch_on_axis_1(small):
    x = rule_input(1, (3, 3, 40, 48))
    classes = ClassMap(small)(x)
    assert classes.shape == (1, 3, 40, 48)
    assert classes.dtype == torch.int64
    for index in range(3):
        assert torch.equal(classes[0, index], small(x[index : index + 1])[0].argmax(0))


def test_width_and_depth_follow_the_arguments():
    state = FCNResNet50D8(21, 8, 40, 16, (2, 1, 1, 2)).state_dict()
    assert state["backbone.layer4.1.conv3.weight"].shape == (256, 64, 1, 1)
    assert state["decode_head.conv_cat.conv.weight"].shape == (40, 296, 3, 3)
    assert state["auxiliary_head.convs.0.conv.weight"].shape == (16, 128, 3, 3)
    assert "backbone.layer2.1.conv1.weight" not in state


@pytest.mark.parametrize("arguments", [(5, 4, 6, 3, (3, 4, 6, 3)), (21, 8, 40, 16, (2, 1, 3, 2))])
def test_a_network_is_rebuilt_from_its_state_dict(arguments):
    state = FCNResNet50D8(*arguments).state_dict()
    FCNResNet50D8.from_state_dict(state).load_state_dict(state, strict=True)


def test_the_official_network_is_built_for_an_unrelated_state_dict():
    assert (
        sum(p.numel() for p in FCNResNet50D8.from_state_dict({"fc.weight": torch.zeros(2, 2)}).parameters())
        == 49_499_274
    )
