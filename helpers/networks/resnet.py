"""ResNetV1c with dilated stages, the backbone of mmsegmentation's D8 models, same state_dict keys.

Architecture: He et al., arXiv:1512.03385 (bottlenecks); the stem of three 3x3 convolutions ("V1c") from
He et al., arXiv:1812.01187; dilation instead of stride from Yu et al., arXiv:1705.09914. Upstream:
open-mmlab/mmsegmentation, mmseg/models/backbones/resnet.py with `contract_dilation=True`.
"""

from __future__ import annotations

import torch
from torch import nn

EXPANSION = 4
STRIDES = (1, 2, 1, 1)
DILATIONS = (1, 1, 2, 4)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut; stride and dilation are those of the 3x3 one."""

    def __init__(self, channels_in: int, planes: int, stride: int = 1, dilation: int = 1, project: bool = False):
        super().__init__()
        channels_out = planes * EXPANSION
        self.conv1 = nn.Conv2d(channels_in, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if project:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + shortcut)


def _stem(channels: int) -> nn.Sequential:
    half = channels // 2
    layers: list[nn.Module] = []
    for channels_in, channels_out, stride in ((3, half, 2), (half, half, 1), (half, channels, 1)):
        layers += [
            nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def _stage(channels_in: int, planes: int, depth: int, stride: int, dilation: int) -> nn.Sequential:
    # contract_dilation: the first block of a dilated stage has half the dilation of the rest.
    first_dilation = dilation // 2 if dilation > 1 else 1
    blocks = [Bottleneck(channels_in, planes, stride, first_dilation, project=True)]
    blocks += [Bottleneck(planes * EXPANSION, planes, 1, dilation) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


class ResNetV1cD8(nn.Module):
    """Stem, max pooling and four stages; the last two keep the stride at 8 and dilate instead.

    Args:
        base_channels: channels after the stem and planes of the first stage, an even number; 64 in ResNet-50.
        blocks: bottlenecks of each stage; (3, 4, 6, 3) in ResNet-50.

    Input (N, 3, H, W) float32; output of the last two stages, (N, 16 b, h, w) and (N, 32 b, h, w), where b is
    `base_channels` and h, w are the sides divided by 8, rounded up at each halving.
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, base_channels: int = 64, blocks: tuple[int, int, int, int] = (3, 4, 6, 3)):
        super().__init__()
        self.stem = _stem(base_channels)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        channels = base_channels
        for index, (depth, stride, dilation) in enumerate(zip(blocks, STRIDES, DILATIONS, strict=True)):
            planes = base_channels << index
            setattr(self, f"layer{index + 1}", _stage(channels, planes, depth, stride, dilation))
            channels = planes * EXPANSION

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.layer2(self.layer1(self.maxpool(self.stem(x))))
        third = self.layer3(x)
        return third, self.layer4(third)
