"""A 3D U-Net with few weights, for the tests of checkpoints."""

from __future__ import annotations

import torch

from helpers.networks.unet3d import UNet3D


def tiny_network(seed: int) -> UNet3D:
    torch.manual_seed(seed)
    return UNet3D(in_channels=1, n_classes=2, base_n_filter=1).eval()
