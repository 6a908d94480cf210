"""The networks of nnU-Net v2, plain and with a residual encoder, built from a plan; upstream's state_dict keys.

Upstream: MIC-DKFZ/dynamic-network-architectures 0.4.4, architectures/unet.py (PlainConvUNet, ResidualEncoderUNet).
Architecture of the residual encoder: Isensee et al., "nnU-Net Revisited", MICCAI 2024. Its blocks are those of
ResNet-D (He et al., CVPR 2019): a shortcut that changes size is an average pooling before a 1x1 convolution.

Upstream registers every unit twice and the encoder again below the decoder, so that its state dicts list tensors
several times. `own_keys` drops the repetitions; the networks here list each tensor once, under its first name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from helpers.errors import CheckpointError

Size: TypeAlias = Sequence[int]

CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, Callable[..., nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_POOLS: dict[int, Callable[..., nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
# Every layer that a plan may name; nothing else is looked up.
_LAYERS: dict[str, Callable[..., nn.Module]] = {
    "InstanceNorm2d": nn.InstanceNorm2d,
    "InstanceNorm3d": nn.InstanceNorm3d,
    "BatchNorm2d": nn.BatchNorm2d,
    "BatchNorm3d": nn.BatchNorm3d,
    "LeakyReLU": nn.LeakyReLU,
    "ReLU": nn.ReLU,
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "ELU": nn.ELU,
    "PReLU": nn.PReLU,
    "Mish": nn.Mish,
}
_REPEATED_UNIT = re.compile(r"(.*)\.all_modules\.\d+\.(\w+)")
_REPEATED_ENCODER = "decoder.encoder."


class Layers:
    """Makes the convolutions, norms and activations of one network.

    Args:
        dims: spatial axes, 2 or 3.
        bias: whether convolutions have a bias.
        norm, activation: name and arguments of a layer of PyTorch; None without one.
        activation_first: activation before the norm.
    """

    def __init__(
        self,
        dims: int,
        bias: bool = True,
        norm: tuple[str, Mapping] | None = None,
        activation: tuple[str, Mapping] | None = None,
        activation_first: bool = False,
    ):
        self.dims, self.bias = dims, bias
        self._norm, self._activation = norm, activation
        self.activation_first = activation_first

    def norm(self, channels: int) -> nn.Module | None:
        """The norm after a convolution."""
        return None if self._norm is None else _LAYERS[self._norm[0]](channels, **self._norm[1])

    def activation(self) -> nn.Module | None:
        """The activation of a unit or block."""
        return None if self._activation is None else _LAYERS[self._activation[0]](**self._activation[1])


class Unit(nn.Module):
    """Convolution, norm and activation, padded so that only the stride changes the size."""

    def __init__(
        self,
        layers: Layers,
        channels_in: int,
        channels_out: int,
        kernel: Size,
        stride: Size | int = 1,
        *,
        activated: bool = True,
        bias: bool | None = None,
    ):
        super().__init__()
        stride = stride if isinstance(stride, int) else tuple(stride)
        padding = tuple((side - 1) // 2 for side in kernel)
        bias = layers.bias if bias is None else bias
        convolution = CONVOLUTIONS[layers.dims]
        self.conv = convolution(channels_in, channels_out, tuple(kernel), stride, padding, bias=bias)
        self.norm = layers.norm(channels_out)
        self.nonlin = layers.activation() if activated else None
        self.activation_first = layers.activation_first and activated

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        after = (self.nonlin, self.norm) if self.activation_first else (self.norm, self.nonlin)
        for layer in after:
            x = x if layer is None else layer(x)
        return x


class Stack(nn.Module):
    """A sequence of units; the first one has the stride."""

    def __init__(
        self, layers: Layers, count: int, channels_in: int, channels_out: int, kernel: Size, stride: Size | int = 1
    ):
        super().__init__()
        first = Unit(layers, channels_in, channels_out, kernel, stride)
        self.convs = nn.Sequential(
            first, *(Unit(layers, channels_out, channels_out, kernel) for _ in range(count - 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x)


class ResidualBlock(nn.Module):
    """Two units, or three around a bottleneck, whose output is added to the shortcut and then activated.

    Args:
        layers: makes the layers.
        channels_in, channels_out: of the block.
        kernel: of the spatial convolutions; those around a bottleneck have size 1.
        stride: of the block.
        bottleneck: channels of the bottleneck; None for a block of two units.
    """

    def __init__(
        self,
        layers: Layers,
        channels_in: int,
        channels_out: int,
        kernel: Size,
        stride: Size,
        bottleneck: int | None = None,
    ):
        super().__init__()
        one = (1,) * layers.dims
        self.is_bottleneck = bottleneck is not None
        if bottleneck is None:
            self.conv1 = Unit(layers, channels_in, channels_out, kernel, stride)
            self.conv2 = Unit(layers, channels_out, channels_out, kernel, activated=False)
            self.nonlin2 = layers.activation()
        else:
            self.conv1 = Unit(layers, channels_in, bottleneck, one)
            self.conv2 = Unit(layers, bottleneck, bottleneck, kernel, stride)
            self.conv3 = Unit(layers, bottleneck, channels_out, one, activated=False)
            self.nonlin3 = layers.activation()
        steps: list[nn.Module] = []
        if any(step != 1 for step in stride):
            steps.append(_POOLS[layers.dims](tuple(stride), tuple(stride)))
        if channels_in != channels_out:
            steps.append(Unit(layers, channels_in, channels_out, one, activated=False, bias=False))
        self.skip = nn.Sequential(*steps)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        y = self.conv3(y) if self.is_bottleneck else y
        y = y + self.skip(x)
        activation = self.nonlin3 if self.is_bottleneck else self.nonlin2
        return y if activation is None else activation(y)


class ResidualStage(nn.Module):
    """A sequence of residual blocks; the first one has the stride."""

    def __init__(
        self,
        layers: Layers,
        count: int,
        channels_in: int,
        channels_out: int,
        kernel: Size,
        stride: Size,
        bottleneck: int | None,
    ):
        super().__init__()
        one = (1,) * layers.dims
        first = ResidualBlock(layers, channels_in, channels_out, kernel, stride, bottleneck)
        rest = (ResidualBlock(layers, channels_out, channels_out, kernel, one, bottleneck) for _ in range(count - 1))
        self.blocks = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class Encoder(nn.Module):
    """The stages of a network, with a stem if the encoder is residual; returns the output of each."""

    def __init__(self, stages: Sequence[nn.Module], stem: nn.Module | None = None):
        super().__init__()
        if stem is not None:
            self.stem = stem
        self.stages = nn.Sequential(*stages)
        self.has_stem = stem is not None

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x) if self.has_stem else x
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs


class Decoder(nn.Module):
    """Transposed convolutions, each joined with the encoder's stage of that size; an output at every stage."""

    def __init__(
        self,
        layers: Layers,
        features: Sequence[int],
        kernels: Sequence[Size],
        strides: Sequence[Size],
        counts: Sequence[int],
        classes: int,
    ):
        super().__init__()
        steps = list(zip(range(len(features) - 2, -1, -1), counts, strict=True))
        dims, bias = layers.dims, layers.bias
        self.stages = nn.ModuleList(
            Stack(layers, count, 2 * features[level], features[level], kernels[level]) for level, count in steps
        )
        self.transpconvs = nn.ModuleList(
            _TRANSPOSED[dims](features[level + 1], features[level], stride, stride, bias=bias)
            for level, stride in ((level, tuple(strides[level + 1])) for level, _ in steps)
        )
        self.seg_layers = nn.ModuleList(CONVOLUTIONS[dims](features[level], classes, 1) for level, _ in steps)

    def forward(self, skips: Sequence[Tensor], do_ds: bool) -> Tensor | tuple[Tensor, ...]:
        x, outputs = skips[-1], []
        last = len(self.stages) - 1
        for step, (stage, up, output) in enumerate(zip(self.stages, self.transpconvs, self.seg_layers, strict=True)):
            x = stage(torch.cat([up(x), skips[-(step + 2)]], 1))
            if do_ds or step == last:
                outputs.append(output(x))
        return tuple(outputs[::-1]) if do_ds else outputs[0]


class PlainConvUNet(nn.Module):
    """A U-Net of nnU-Net v2 as a plan describes it.

    Args:
        input_channels: of the image, and of the one-hot mask of an earlier stage.
        num_classes: channels of the outputs.
        layers: makes the layers.
        features, kernels, strides: of each stage, the first resolution first.
        counts: convolutions, or residual blocks, of each encoder stage.
        decoder_counts: convolutions of each decoder stage, the deepest first.
        bottlenecks: of a residual encoder: channels of each stage's bottleneck; None for blocks of two units.
        stem_channels: of the stem of a residual encoder; None: those of the first stage.

    Attributes:
        do_ds: deep supervision: return all outputs; may be changed at any time.

    Input (N, input_channels, [Z,] Y, X) float32 whose sides are multiples of the product of the strides. Output:
    logits (N, num_classes, [Z,] Y, X); with `do_ds` a tuple of them, the full resolution first.
    """

    residual: ClassVar[bool] = False

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        layers: Layers,
        features: Sequence[int],
        kernels: Sequence[Size],
        strides: Sequence[Size],
        counts: Sequence[int],
        decoder_counts: Sequence[int],
        *,
        bottlenecks: Sequence[int] | None = None,
        stem_channels: int | None = None,
    ):
        super().__init__()
        self.do_ds = False
        residual = self.residual
        first = (stem_channels or features[0]) if residual else input_channels
        stem = Stack(layers, 1, input_channels, first, kernels[0]) if residual else None
        stages: list[nn.Module] = []
        sizes = zip(counts, [first, *features], features, kernels, strides, strict=False)
        for level, (count, before, after, kernel, stride) in enumerate(sizes):
            if residual:
                bottleneck = None if bottlenecks is None else bottlenecks[level]
                stages.append(ResidualStage(layers, count, before, after, kernel, stride, bottleneck))
            else:
                stages.append(nn.Sequential(Stack(layers, count, before, after, kernel, stride)))
        self.encoder = Encoder(stages, stem)
        self.decoder = Decoder(layers, features, kernels, strides, decoder_counts, num_classes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.decoder(self.encoder(x), self.do_ds)


class ResidualEncoderUNet(PlainConvUNet):
    """The U-Net whose encoder has a stem and residual blocks."""

    residual = True


def own_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of upstream's networks without the entries that repeat a tensor under a second name.

    Raises:
        CheckpointError: a repetition differs from the tensor that it repeats, or repeats none.
    """
    repeated = {key: names for key in state if (names := _repeats(key))}
    for key, names in repeated.items():
        value, firsts = state[key], [state[name] for name in names if name in state]
        if not any(value.data_ptr() == first.data_ptr() or torch.equal(value, first) for first in firsts):
            raise CheckpointError(
                "the checkpoint contradicts itself",
                received=f"{key} differs from the tensor that nnU-Net writes under both names",
                remedy="Use the file that nnU-Net wrote.",
            )
    return {key: value for key, value in state.items() if key not in repeated}


def _repeats(key: str) -> list[str]:
    """The first name of the tensor that an entry repeats: one of these; empty if the entry repeats none."""
    plain = key.removeprefix("decoder.") if key.startswith(_REPEATED_ENCODER) else key
    if match := _REPEATED_UNIT.fullmatch(plain):
        return [f"{match[1]}.{part}.{match[2]}" for part in ("conv", "norm", "nonlin")]
    return [] if plain == key else [plain]
