"""3D U-Net of MedicalZooPytorch (black0017/MedicalZooPytorch, lib/medzoo/Unet3D.py), same state_dict keys.

Architecture: Isensee et al., "Brain Tumor Segmentation and Radiomics Survival Prediction", arXiv:1802.10508.
"""

from __future__ import annotations

import torch
from torch import nn


def _conv(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv3d:
    return nn.Conv3d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1, bias=False)


def _pointwise(channels_in: int, channels_out: int) -> nn.Conv3d:
    return nn.Conv3d(channels_in, channels_out, kernel_size=1, bias=False)


def _norm(channels: int) -> nn.InstanceNorm3d:
    return nn.InstanceNorm3d(channels)


def _norm_lrelu_conv(channels: int) -> nn.Sequential:
    return nn.Sequential(_norm(channels), nn.LeakyReLU(), _conv(channels, channels))


def _conv_norm_lrelu(channels: int) -> nn.Sequential:
    return nn.Sequential(_conv(channels, channels), _norm(channels), nn.LeakyReLU())


def _upscale(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        _norm(channels_in),
        nn.LeakyReLU(),
        nn.Upsample(scale_factor=2, mode="nearest"),
        _conv(channels_in, channels_out),
        _norm(channels_out),
        nn.LeakyReLU(),
    )


class UNet3D(nn.Module):
    """Five levels of residual blocks that apply one shared convolution twice; deep supervision is summed inside.

    Args:
        in_channels: modalities; BraTS has four, in the order t1, t1ce, t2, flair.
        n_classes: classes of the output, background included.
        base_n_filter: channels of the first level; the official network has 8.

    Input (N, in_channels, Z, Y, X) float32 with sides that are multiples of 16 and not all 16;
    output (N, n_classes, Z, Y, X) logits.
    """

    def __init__(self, in_channels: int = 4, n_classes: int = 4, base_n_filter: int = 8):
        super().__init__()
        b = base_n_filter
        self.lrelu = nn.LeakyReLU()
        self.dropout3d = nn.Dropout3d(p=0.6)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.conv3d_c1_1 = _conv(in_channels, b)
        self.conv3d_c1_2 = _conv(b, b)
        self.lrelu_conv_c1 = nn.Sequential(nn.LeakyReLU(), _conv(b, b))
        self.inorm3d_c1 = _norm(b)
        for level in (2, 3, 4, 5):
            channels = b << (level - 1)
            setattr(self, f"conv3d_c{level}", _conv(channels // 2, channels, stride=2))
            setattr(self, f"norm_lrelu_conv_c{level}", _norm_lrelu_conv(channels))
            if level < 5:
                setattr(self, f"inorm3d_c{level}", _norm(channels))
        self.norm_lrelu_upscale_conv_norm_lrelu_l0 = _upscale(16 * b, 8 * b)
        self.conv3d_l0 = _pointwise(8 * b, 8 * b)
        self.inorm3d_l0 = _norm(8 * b)
        for step, width in ((1, 16 * b), (2, 8 * b), (3, 4 * b)):
            setattr(self, f"conv_norm_lrelu_l{step}", _conv_norm_lrelu(width))
            setattr(self, f"conv3d_l{step}", _pointwise(width, width // 2))
            setattr(self, f"norm_lrelu_upscale_conv_norm_lrelu_l{step}", _upscale(width // 2, width // 4))
        self.conv_norm_lrelu_l4 = _conv_norm_lrelu(2 * b)
        self.conv3d_l4 = _pointwise(2 * b, n_classes)
        self.ds2_1x1_conv3d = _pointwise(8 * b, n_classes)
        self.ds3_1x1_conv3d = _pointwise(4 * b, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips, x = self._encode(x)
        x = self.norm_lrelu_upscale_conv_norm_lrelu_l0(x)
        x = self.lrelu(self.inorm3d_l0(self.conv3d_l0(x)))
        supervised = {}
        for step in (1, 2, 3):
            x = getattr(self, f"conv_norm_lrelu_l{step}")(torch.cat([x, skips.pop()], dim=1))
            supervised[step] = x
            x = getattr(self, f"conv3d_l{step}")(x)
            x = getattr(self, f"norm_lrelu_upscale_conv_norm_lrelu_l{step}")(x)
        logits = self.conv3d_l4(self.conv_norm_lrelu_l4(torch.cat([x, skips.pop()], dim=1)))
        coarse = self.upsample(self.ds2_1x1_conv3d(supervised[2])) + self.ds3_1x1_conv3d(supervised[3])
        return logits + self.upsample(coarse)

    def _encode(self, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        residual = self.conv3d_c1_1(x)
        x = self.lrelu_conv_c1(self.dropout3d(self.conv3d_c1_2(self.lrelu(residual)))) + residual
        skips = [self.lrelu(x)]  # no norm, unlike the deeper levels
        x = self.lrelu(self.inorm3d_c1(x))
        for level in (2, 3, 4):
            x = self.lrelu(getattr(self, f"inorm3d_c{level}")(self._residual_level(level, x)))
            skips.append(x)
        return skips, self._residual_level(5, x)

    def _residual_level(self, level: int, x: torch.Tensor) -> torch.Tensor:
        residual = getattr(self, f"conv3d_c{level}")(x)
        block = getattr(self, f"norm_lrelu_conv_c{level}")
        return block(self.dropout3d(block(residual))) + residual
