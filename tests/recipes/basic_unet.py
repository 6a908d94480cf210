"""A network that the package does not know: three levels of two convolutions, max-pooled down, transposed up."""

from __future__ import annotations

import torch
from torch import nn


def _two_convolutions(channels_in: int, channels_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for first in (channels_in, channels_out):
        layers += [nn.Conv3d(first, channels_out, 3, padding=1), nn.InstanceNorm3d(channels_out, affine=True)]
        layers += [nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


class BasicUNet(nn.Module):
    """Input (N, 1, Z, Y, X), sides multiples of 4; output (N, 2, Z, Y, X) logits."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.top, self.middle = _two_convolutions(1, width), _two_convolutions(width, 2 * width)
        self.bottom = _two_convolutions(2 * width, 4 * width)
        self.pool = nn.MaxPool3d(2)
        self.up_middle = nn.ConvTranspose3d(4 * width, 2 * width, 2, stride=2)
        self.join_middle = _two_convolutions(4 * width, 2 * width)
        self.up_top = nn.ConvTranspose3d(2 * width, width, 2, stride=2)
        self.join_top = _two_convolutions(2 * width, width)
        self.head = nn.Conv3d(width, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        top = self.top(x)
        middle = self.middle(self.pool(top))
        x = self.up_middle(self.bottom(self.pool(middle)))
        x = self.up_top(self.join_middle(torch.cat([middle, x], dim=1)))
        return self.head(self.join_top(torch.cat([top, x], dim=1)))
