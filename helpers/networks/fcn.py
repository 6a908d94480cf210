"""FCN-R50-D8 of mmsegmentation (config fcn_r50-d8_512x512_20k_voc12aug), same state_dict keys.

Often called FCN-8s, although it has no skip fusion: a ResNet-50 of output stride 8 with a convolutional head on its
last stage. Heads: open-mmlab/mmsegmentation, mmseg/models/decode_heads/fcn_head.py. Architecture: Long et al.,
arXiv:1411.4038.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from helpers.networks.resnet import ResNetV1cD8


class _ConvNormReLU(nn.Module):
    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.bn(self.conv(x)))


class FCNHead(nn.Module):
    """3x3 convolutions, optionally concatenated with their input, then a 1x1 classifier.

    Args:
        channels_in: channels of the stage that the head reads.
        channels: channels of the head's convolutions.
        num_classes: classes of the output, background included.
        num_convs: 3x3 convolutions before the concatenation.
        concat_input: concatenate the input (first) with their output and convolve once more.

    Input (N, channels_in, h, w); output (N, num_classes, h, w) logits.
    """

    def __init__(self, channels_in: int, channels: int, num_classes: int, num_convs: int, concat_input: bool):
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)
        self.dropout = nn.Dropout2d(0.1)
        widths = [channels_in] + [channels] * num_convs
        self.convs = nn.Sequential(*(_ConvNormReLU(a, b) for a, b in pairwise(widths)))
        self.conv_cat = _ConvNormReLU(channels_in + channels, channels) if concat_input else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.convs(x)
        if self.conv_cat is not None:
            out = self.conv_cat(torch.cat([x, out], dim=1))
        return self.conv_seg(self.dropout(out))


class FCNResNet50D8(nn.Module):
    """Dilated ResNet-50 with an FCN head; the defaults are the official network.

    Args:
        num_classes: classes of the output, background included.
        base_channels: channels after the stem (an even number); every stage scales with it.
        head_channels: channels of the decode head.
        auxiliary_channels: channels of the auxiliary head; None: there is none.
        blocks: bottlenecks of each stage.

    Input (N, 3, H, W) float32, normalised RGB; output (N, num_classes, H, W) logits: those of the decode head at
    stride 8, resized bilinearly. The auxiliary head is used in training only; it is there for checkpoints that
    have it, which load strictly, and `forward` does not run it.
    """

    def __init__(
        self,
        num_classes: int = 21,
        base_channels: int = 64,
        head_channels: int = 512,
        auxiliary_channels: int | None = 256,
        blocks: tuple[int, int, int, int] = (3, 4, 6, 3),
    ):
        super().__init__()
        self.backbone = ResNetV1cD8(base_channels, blocks)
        self.decode_head = FCNHead(32 * base_channels, head_channels, num_classes, 2, concat_input=True)
        self.auxiliary_head = (
            None
            if auxiliary_channels is None
            else FCNHead(16 * base_channels, auxiliary_channels, num_classes, 1, concat_input=False)
        )

    @classmethod
    def from_state_dict(cls, state: Mapping[str, torch.Tensor]) -> FCNResNet50D8:
        """Builds the network whose widths and depths fit a state dict, without loading the weights.

        If the keys that reveal them are missing, builds the official network; loading then reports the differences.
        """
        stem, head = state.get("backbone.layer1.0.conv1.weight"), state.get("decode_head.conv_seg.weight")
        auxiliary = state.get("auxiliary_head.conv_seg.weight")
        if stem is None or head is None:
            return cls()
        first, second, third, fourth = (_count_blocks(state, f"backbone.layer{stage}.") for stage in (1, 2, 3, 4))
        return cls(
            num_classes=head.shape[0],
            base_channels=stem.shape[0],
            head_channels=head.shape[1],
            auxiliary_channels=None if auxiliary is None else auxiliary.shape[1],
            blocks=(first, second, third, fourth),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.decode_head(self.backbone(x)[1])
        return functional.interpolate(logits, size=x.shape[2:], mode="bilinear", align_corners=False)

    def forward_heads(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the decode head and of the auxiliary head at stride 8, for training."""
        if self.auxiliary_head is None:
            raise ValueError("this network has no auxiliary head")
        third, fourth = self.backbone(x)
        return self.decode_head(fourth), self.auxiliary_head(third)


class ClassMap(nn.Module):
    """A network followed by softmax and argmax, with the output layout of mmsegmentation's ONNX exporter.

    Takes the network's input and returns (1, N, H, W) int64 classes. The batch is axis 1, because the exporter
    (tools/pytorch2onnx.py, whole-image test mode) adds an axis before the (N, H, W) prediction.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        probabilities = functional.softmax(self.network(x), dim=1)
        return probabilities.argmax(dim=1).unsqueeze(0)


def _count_blocks(state: Mapping[str, torch.Tensor], prefix: str) -> int:
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})
