"""The plain U-Net of nnU-Net in 2-D and 3-D with v1's state_dict keys; also renames v2's keys and averages folds.

Upstream: MIC-DKFZ/nnUNet v1.7.1, nnunet/network_architecture/generic_UNet.py.
Architecture: Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image
segmentation", Nature Methods 18 (2021). A plan defines the strides and kernels of a network's stages and the width of
the first stage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from helpers.errors import CheckpointError

Sizes = Sequence[Sequence[int]]

# Layers by the number of spatial dimensions.
CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Callable[..., nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORMS: dict[int, Callable[..., nn.Module]] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_BATCH_NORMS: dict[int, Callable[..., nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAXIMUM_WIDTH = {2: 480, 3: 320}
_SLOPE = 0.01

_HEART_2D_POOLS = ((2, 2),) * 6
_HEART_3D_POOLS = ((2, 2, 2),) * 4 + ((1, 2, 2),)

# The keys of v2's PlainConvUNet, and their parts under v1's names.
_V2_PREFIXES = ("encoder.stages.", "encoder.stem.")
_V2_ALIAS = re.compile(r"decoder\.encoder\.|.*\.all_modules\.")
_V2_UNIT = re.compile(r"(encoder|decoder)\.stages\.(\d+)\.(?:0\.)?convs\.(\d+)\.(conv|norm)\.(weight|bias)")
_V2_PLAIN = re.compile(r"decoder\.(transpconvs|seg_layers)\.(\d+)\.(weight|bias)")
_V1_PARTS = {"conv": "conv", "norm": "instnorm", "transpconvs": "tu", "seg_layers": "seg_outputs"}


class ConvUnit(nn.Module):
    """Convolution with bias, instance norm and leaky ReLU, padded so that only the stride changes the size."""

    def __init__(self, channels_in: int, channels_out: int, kernel: Sequence[int], stride: Sequence[int] | int = 1):
        super().__init__()
        dims = len(kernel)
        padding = tuple(side // 2 for side in kernel)
        stride = stride if isinstance(stride, int) else tuple(stride)
        self.conv = CONVOLUTIONS[dims](channels_in, channels_out, tuple(kernel), stride, padding)
        self.instnorm = _NORMS[dims](channels_out, eps=1e-5, affine=True)
        self.lrelu: nn.Module = nn.LeakyReLU(_SLOPE, inplace=True)
        self.activation_first = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.instnorm(self.lrelu(x)) if self.activation_first else self.lrelu(self.instnorm(x))

    def replace_layers(self, norm: str | None, activation: nn.Module, activation_first: bool) -> None:
        """Uses the layers of another trainer of v1, under the same names: "InstanceNorm", "BatchNorm" or no norm."""
        weight = self.conv.state_dict()["weight"]
        channels, dims = weight.shape[0], weight.ndim - 2
        if norm == "BatchNorm":
            self.instnorm = _BATCH_NORMS[dims](channels, eps=1e-5, affine=True)
        elif norm is None:
            self.instnorm = nn.Identity()
        self.lrelu, self.activation_first = activation, activation_first


class ConvStack(nn.Module):
    """A sequence of units; the first one has the stride."""

    def __init__(
        self, channels_in: int, channels_out: int, count: int, kernel: Sequence[int], stride: Sequence[int] | int = 1
    ):
        super().__init__()
        first = ConvUnit(channels_in, channels_out, kernel, stride)
        rest = [ConvUnit(channels_out, channels_out, kernel) for _ in range(count - 1)]
        self.blocks = nn.Sequential(first, *rest)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(x)


def stage_widths(base_num_features: int, num_pool: int, max_num_features: int) -> list[int]:
    """Channels of the stages from the first to the bottleneck, doubled each time up to a maximum.

    >>> stage_widths(base_num_features=32, num_pool=5, max_num_features=320)
    [32, 64, 128, 256, 320, 320]
    """
    return [min(base_num_features * 2**stage, max_num_features) for stage in range(num_pool + 1)]


def build_encoder(
    input_channels: int, widths: Sequence[int], pools: Sizes, kernels: Sizes, count: int
) -> nn.ModuleList:
    """The stages before the bottleneck, then the bottleneck as two stacks; all but the first start with a stride."""
    strides: list[Sequence[int] | int] = [1, *pools]
    channels = [input_channels, *widths]
    stages = [
        ConvStack(channels[stage], widths[stage], count, kernels[stage], strides[stage])
        for stage in range(len(pools))
    ]
    bottleneck = nn.Sequential(
        ConvStack(widths[-2], widths[-1], count - 1, kernels[-1], strides[-1]),
        ConvStack(widths[-1], widths[-1], 1, kernels[-1]),
    )
    return nn.ModuleList([*stages, bottleneck])


def init_he(network: nn.Module) -> None:
    """He initialisation for the slope of the leaky ReLU, with zero biases, as nnU-Net trains."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, a=_SLOPE)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class GenericUNet(nn.Module):
    """Strided convolutions in the encoder, transposed ones in the decoder, a segmentation output at each stage.

    Args:
        input_channels: modalities of the image.
        num_classes: classes of the outputs, background included.
        pool_op_kernel_sizes: stride of each encoder step, one entry per axis; their number is the depth.
        base_num_features: channels of the first stage, doubled at each step.
        conv_kernel_sizes: kernel of each stage, one more than there are steps; 3 everywhere by default.
        num_conv_per_stage: units per stage.
        max_num_features: maximum width; by default 480 in two dimensions and 320 in three.
        decoder_kernel_sizes: kernel of each decoder step, deepest first; by default as in v1, which starts with the
            bottleneck's (v2 starts with the stage above).
        decoder_bias: biases in transposed convolutions and outputs, which only v2 has.
        do_ds: deep supervision: return all outputs; may be changed at any time.

    Input (N, input_channels, [Z,] Y, X) float32 whose sides are multiples of the product of the strides, with more
    than one voxel left in the bottleneck. Output: logits (N, num_classes, [Z,] Y, X); with `do_ds` a tuple of
    them, the full resolution first, then each coarser one except the bottleneck's.
    """

    def __init__(
        self,
        input_channels: int = 1,
        num_classes: int = 2,
        pool_op_kernel_sizes: Sizes = _HEART_2D_POOLS,
        *,
        base_num_features: int = 32,
        conv_kernel_sizes: Sizes | None = None,
        num_conv_per_stage: int = 2,
        max_num_features: int | None = None,
        decoder_kernel_sizes: Sizes | None = None,
        decoder_bias: bool = False,
        do_ds: bool = True,
    ):
        super().__init__()
        pools = [tuple(pool) for pool in pool_op_kernel_sizes]
        depth, dims = len(pools), len(pools[0])
        kernels = [tuple(kernel) for kernel in conv_kernel_sizes or [(3,) * dims] * (depth + 1)]
        up_kernels = [tuple(kernel) for kernel in decoder_kernel_sizes or kernels[:0:-1]]
        widths = stage_widths(base_num_features, depth, max_num_features or MAXIMUM_WIDTH[dims])
        skips = widths[-2::-1]
        self.do_ds = do_ds
        self.conv_blocks_localization = nn.ModuleList(
            nn.Sequential(
                ConvStack(2 * width, width, num_conv_per_stage - 1, kernel), ConvStack(width, width, 1, kernel)
            )
            for width, kernel in zip(skips, up_kernels, strict=True)
        )
        self.conv_blocks_context = build_encoder(input_channels, widths, pools, kernels, num_conv_per_stage)
        self.tu = nn.ModuleList(
            TRANSPOSED[dims](below, width, pool, pool, bias=decoder_bias)
            for below, width, pool in zip(widths[:0:-1], skips, pools[::-1], strict=True)
        )
        self.seg_outputs = nn.ModuleList(
            CONVOLUTIONS[dims](width, num_classes, 1, bias=decoder_bias) for width in skips
        )
        init_he(self)

    @classmethod
    def heart_2d(cls, base_num_features: int = 32, num_pool: int = 6, **options: Any) -> GenericUNet:
        """The 2-D network of Task02 Heart, 320 x 256, optionally narrower or with fewer steps."""
        return cls(1, 2, _HEART_2D_POOLS[:num_pool], base_num_features=base_num_features, **options)

    @classmethod
    def heart_3d_fullres(cls, base_num_features: int = 32, num_pool: int = 5, **options: Any) -> GenericUNet:
        """The 3-D network of Task02 Heart, 80 x 192 x 160, optionally narrower or with fewer steps."""
        return cls(1, 2, _HEART_3D_POOLS[:num_pool], base_num_features=base_num_features, **options)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, torch.Tensor], **options: Any) -> GenericUNet:
        """Builds the network that fits a state dict with v1's keys, without loading the weights."""
        return cls(**infer_architecture(state), **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        skips = []
        for stage in self.conv_blocks_context[:-1]:
            x = stage(x)
            skips.append(x)
        x = self.conv_blocks_context[-1](x)
        outputs = []
        last = len(self.tu) - 1
        for step, up in enumerate(self.tu):
            x = self.conv_blocks_localization[step](torch.cat([up(x), skips.pop()], dim=1))
            if self.do_ds or step == last:
                outputs.append(self.seg_outputs[step](x))
        return tuple(outputs[::-1]) if self.do_ds else outputs[0]


def infer_architecture(state: Mapping[str, torch.Tensor]) -> dict:
    """The arguments of `GenericUNet` for the shapes in a state dict with v1's keys.

    Raises:
        KeyError: a key is missing, so the state dict belongs to another network.
    """
    encoder = "conv_blocks_context.{}.blocks.0.conv.weight"
    depth = 0
    while f"tu.{depth}.weight" in state:
        depth += 1
    firsts = [state[encoder.format(stage)].shape for stage in range(depth)]
    bottleneck = state[f"conv_blocks_context.{depth}.0.blocks.0.conv.weight"].shape
    count = sum(key.startswith("conv_blocks_context.0.") and key.endswith("conv.weight") for key in state)
    ups = [state[f"conv_blocks_localization.{step}.1.blocks.0.conv.weight"].shape for step in range(depth)]
    return {
        "input_channels": int(firsts[0][1]),
        "num_classes": int(state["seg_outputs.0.weight"].shape[0]),
        "pool_op_kernel_sizes": [tuple(state[f"tu.{step}.weight"].shape[2:]) for step in reversed(range(depth))],
        "base_num_features": int(firsts[0][0]),
        "conv_kernel_sizes": [tuple(shape[2:]) for shape in (*firsts, bottleneck)],
        "num_conv_per_stage": count,
        "max_num_features": int(bottleneck[0]),
        "decoder_kernel_sizes": [tuple(shape[2:]) for shape in ups],
        "decoder_bias": "tu.0.bias" in state,
    }


class FoldEnsemble(nn.Module):
    """The mean output of networks with one architecture, one per fold.

    Averaging per window gives the same result as averaging at the end, because summing windows, mirroring and
    resampling are linear. nnU-Net v1 averages the folds' probabilities (nnunet/inference/predict.py), v2 their logits
    (predict_from_raw_data.py).

    Args:
        members: networks that map (N, C, ...) to logits (N, classes, ...).
        activation: "softmax", or "sigmoid" for regions: average and return probabilities instead of logits.
    """

    def __init__(self, members: Sequence[nn.Module], activation: str | None):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = self._run(self.members[0], x)
        for member in self.members[1:]:
            total = total + self._run(member, x)
        return total / len(self.members)

    def _run(self, member: nn.Module, x: torch.Tensor) -> torch.Tensor:
        logits = member(x)
        if self.activation is None:
            return logits
        if self.activation == "sigmoid":
            return torch.sigmoid(logits)
        # Not torch.softmax: opset 11's Softmax flattens the axes, so the export would transpose before and after it.
        raised = torch.exp(logits - torch.amax(logits, 1, keepdim=True))
        return raised / raised.sum(1, keepdim=True)


def rename_v2_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the keys of a v2 state dict to v1's and drops its aliases; other state dicts are left as they are.

    Raises:
        CheckpointError: the network is not a PlainConvUNet; the message has one of its keys.
    """
    if not any(key.startswith(_V2_PREFIXES) for key in state):
        return dict(state)
    kept = [key for key in state if not _V2_ALIAS.match(key)]
    units = [match for match in map(_V2_UNIT.fullmatch, kept) if match]
    counts: dict[tuple[str, int], int] = {}
    for match in units:
        stage = (match[1], int(match[2]))
        counts[stage] = max(counts.get(stage, 0), int(match[3]) + 1)
    bottleneck = max((stage for half, stage in counts if half == "encoder"), default=0)
    return {_v1_name(key, counts, bottleneck): state[key] for key in kept}


def _v1_name(key: str, counts: Mapping[tuple[str, int], int], bottleneck: int) -> str:
    if match := _V2_PLAIN.fullmatch(key):
        return f"{_V1_PARTS[match[1]]}.{match[2]}.{match[3]}"
    match = _V2_UNIT.fullmatch(key)
    if match is None:
        raise CheckpointError(
            "the checkpoint does not belong to nnU-Net's plain U-Net",
            received=f"the key {key}",
            expected="keys such as encoder.stages.0.0.convs.0.conv.weight",
            remedy="Networks with residual encoders are not supported.",
        )
    half, stage, unit = match[1], int(match[2]), int(match[3])
    leaf = f"{_V1_PARTS[match[4]]}.{match[5]}"
    if half == "encoder" and stage < bottleneck:
        return f"conv_blocks_context.{stage}.blocks.{unit}.{leaf}"
    # In v1 the bottleneck and each decoder step have two stacks: all units but the last, and the last.
    is_last = unit == counts[half, stage] - 1
    name = "conv_blocks_context" if half == "encoder" else "conv_blocks_localization"
    return f"{name}.{stage}.{int(is_last)}.blocks.{0 if is_last else unit}.{leaf}"
