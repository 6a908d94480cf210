"""2D U-Net of Pytorch-UNet (milesial/Pytorch-UNet at 6aa14cb, unet/unet_model.py), same state_dict keys.

Architecture: Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation",
arXiv:1505.04597, with padded convolutions and batch normalisation.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class _DoubleConv(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, bias: bool, channels_middle: int | None = None):
        super().__init__()
        channels_middle = channels_middle or channels_out
        self.double_conv = nn.Sequential(
            nn.Conv2d(channels_in, channels_middle, kernel_size=3, padding=1, bias=bias),
            nn.BatchNorm2d(channels_middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_middle, channels_out, kernel_size=3, padding=1, bias=bias),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.double_conv(x)


class _Down(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, bias: bool):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), _DoubleConv(channels_in, channels_out, bias))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.maxpool_conv(x)


class _Up(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, bias: bool, bilinear: bool):
        super().__init__()
        self.up: nn.Module
        if bilinear:
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            self.conv = _DoubleConv(channels_in, channels_out, bias, channels_in // 2)
        else:
            self.up = nn.ConvTranspose2d(channels_in, channels_in // 2, kernel_size=2, stride=2)
            self.conv = _DoubleConv(channels_in, channels_out, bias)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = self.up(x)
        # Python numbers, because a traced export would otherwise compute the pads from shapes at run time.
        rows = int(skip.shape[2]) - int(x.shape[2])
        columns = int(skip.shape[3]) - int(x.shape[3])
        top, left = rows // 2, columns // 2
        x = functional.pad(x, [left, columns - left, top, rows - top])
        return self.conv(torch.cat([skip, x], dim=1))


class _OutConv(nn.Module):
    def __init__(self, channels_in: int, n_classes: int):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, n_classes, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class UNet(nn.Module):
    """Five levels of two convolutions, with max-pooling in the encoder and skip connections to the decoder.

    As upstream, each decoder step pads its input to the size of the skip, by zero if they agree. Here the pads are
    Python numbers, so a traced graph has four Pad nodes with constant pads (two of them zero at 572 x 572), a fixed
    height and width, and a dynamic batch.

    Args:
        n_channels: channels of the image; three for RGB.
        n_classes: channels of the output; one for a foreground logit.
        bilinear: upsample bilinearly instead of by transposed convolutions; the deepest level is then half as wide.
        base_channels: channels of the first level; the official network has 64.
        conv_bias: whether convolutions before a normalisation have a bias; upstream dropped it in December 2021.

    Input (N, n_channels, H, W) float32 with sides of at least 16; output (N, n_classes, H, W) logits.
    """

    def __init__(
        self,
        n_channels: int = 3,
        n_classes: int = 1,
        bilinear: bool = False,
        base_channels: int = 64,
        conv_bias: bool = True,
    ):
        super().__init__()
        b, shrink = base_channels, 2 if bilinear else 1
        self.inc = _DoubleConv(n_channels, b, conv_bias)
        self.down1 = _Down(b, 2 * b, conv_bias)
        self.down2 = _Down(2 * b, 4 * b, conv_bias)
        self.down3 = _Down(4 * b, 8 * b, conv_bias)
        self.down4 = _Down(8 * b, 16 * b // shrink, conv_bias)
        self.up1 = _Up(16 * b, 8 * b // shrink, conv_bias, bilinear)
        self.up2 = _Up(8 * b, 4 * b // shrink, conv_bias, bilinear)
        self.up3 = _Up(4 * b, 2 * b // shrink, conv_bias, bilinear)
        self.up4 = _Up(2 * b, b, conv_bias, bilinear)
        self.outc = _OutConv(b, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        x = self.up1(self.down4(x4), x4)
        x = self.up2(x, x3)
        x = self.up3(x, x2)
        return self.outc(self.up4(x, x1))
