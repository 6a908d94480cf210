"""The U-Net of nnU-Net v1 in two and three dimensions, same state_dict keys.

Upstream: MIC-DKFZ/nnUNet v1.7.1, nnunet/network_architecture/generic_UNet.py.
Architecture: Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image
segmentation", Nature Methods 18 (2021). A network is given by its plan: how each stage pools, which kernels it has,
and the width of the first stage.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from helpers.errors import CheckpointError

Sizes = Sequence[Sequence[int]]

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORMS = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
LARGEST_WIDTH = {2: 480, 3: 320}
SLOPE = 0.01

HEART_2D_POOLS = ((2, 2),) * 6
HEART_3D_POOLS = ((2, 2, 2),) * 4 + ((1, 2, 2),)


class ConvUnit(nn.Module):
    """Convolution with bias, instance norm, leaky ReLU; padded so that only the stride changes the size."""

    def __init__(self, channels_in: int, channels_out: int, kernel: Sequence[int], stride: Sequence[int] | int = 1):
        super().__init__()
        dims = len(kernel)
        padding = tuple(side // 2 for side in kernel)
        stride = stride if isinstance(stride, int) else tuple(stride)
        self.conv = CONVOLUTIONS[dims](channels_in, channels_out, tuple(kernel), stride, padding)
        self.instnorm = _NORMS[dims](channels_out, eps=1e-5, affine=True)
        self.lrelu = nn.LeakyReLU(SLOPE, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lrelu(self.instnorm(self.conv(x)))


class ConvStack(nn.Module):
    """Units one after another; the first has the stride."""

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
    """Channels of the stages from the first to the bottleneck: doubled each time, up to a largest width."""
    return [min(base_num_features * 2**stage, max_num_features) for stage in range(num_pool + 1)]


def build_encoder(
    input_channels: int, widths: Sequence[int], pools: Sizes, kernels: Sizes, count: int
) -> nn.ModuleList:
    """The stages before the bottleneck, then the bottleneck as two stacks; from the second on each starts strided."""
    strides = [1, *pools]
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
    """He initialisation for the leaky ReLU's slope, biases zero, as nnU-Net trains."""
    for module in network.modules():
        if isinstance(module, (*CONVOLUTIONS.values(), *TRANSPOSED.values())):
            nn.init.kaiming_normal_(module.weight, a=SLOPE)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class GenericUNet(nn.Module):
    """Strided convolutions on the way down, transposed ones on the way up, a segmentation output at each stage.

    Args:
        input_channels: modalities of the image.
        num_classes: classes of the outputs, background included.
        pool_op_kernel_sizes: stride of each step down; their length is the depth, the length of each the dimension.
        base_num_features: channels of the first stage; doubled at each step down.
        conv_kernel_sizes: kernel of each stage, one more than steps; 3 everywhere when left out.
        num_conv_per_stage: units of a stage.
        max_num_features: largest width; 480 in two dimensions and 320 in three when left out.
        decoder_kernel_sizes: kernel of each step up, deepest first; by default those of v1, which starts from the
            bottleneck's (v2 starts from the stage above).
        decoder_bias: biases in transposed convolutions and outputs, which v2 has and v1 has not.
        do_ds: whether all outputs are returned; may be changed at any time.

    Input (N, input_channels, [Z,] Y, X) float32 whose sides are multiples of the product of the strides, with more
    than one voxel left in the bottleneck. Output: logits (N, num_classes, [Z,] Y, X); with `do_ds` a tuple of
    them, the full resolution first, then each coarser one except the bottleneck's.
    """

    def __init__(
        self,
        input_channels: int = 1,
        num_classes: int = 2,
        pool_op_kernel_sizes: Sizes = HEART_2D_POOLS,
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
        widths = stage_widths(base_num_features, depth, max_num_features or LARGEST_WIDTH[dims])
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
    def heart_2d(cls, base_num_features: int = 32, num_pool: int = 6, **options) -> GenericUNet:
        """The 2-D network of Task02 Heart, 320 x 256; narrower or with fewer of its steps when asked."""
        return cls(1, 2, HEART_2D_POOLS[:num_pool], base_num_features=base_num_features, **options)

    @classmethod
    def heart_3d_fullres(cls, base_num_features: int = 32, num_pool: int = 5, **options) -> GenericUNet:
        """The 3-D network of Task02 Heart, 80 x 192 x 160; narrower or with fewer of its steps when asked."""
        return cls(1, 2, HEART_3D_POOLS[:num_pool], base_num_features=base_num_features, **options)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, torch.Tensor], **options) -> GenericUNet:
        """The network that a state dict of v1 names fits, weights not loaded."""
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
    """Arguments of `GenericUNet` read from the shapes of a state dict.

    Raises:
        KeyError: the state dict is not one of this network (the missing key).
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
    """The mean answer of networks of one form.

    Windows, mirrors and resampling are linear, so the mean may be taken first: version 1 of nnU-Net averages the
    folds' probabilities (nnunet/inference/predict.py), version 2 their logits (predict_from_raw_data.py).

    Args:
        members: one network a fold; each maps (N, C, ...) to logits (N, classes, ...).
        softmax: the mean is that of probabilities, which is then what the graph returns.
    """

    def __init__(self, members: Sequence[nn.Module], softmax: bool):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.softmax = softmax

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = self._answer(self.members[0], x)
        for member in self.members[1:]:
            total = total + self._answer(member, x)
        return total / len(self.members)

    def _answer(self, member: nn.Module, x: torch.Tensor) -> torch.Tensor:
        logits = member(x)
        if not self.softmax:
            return logits
        # Written out: ONNX's Softmax of opset 11 flattens the axes, and its export wraps it in transpositions.
        raised = torch.exp(logits - torch.amax(logits, 1, keepdim=True))
        return raised / raised.sum(1, keepdim=True)


_ALIAS = re.compile(r"decoder\.encoder\.|.*\.all_modules\.")
_UNIT = re.compile(r"(encoder|decoder)\.stages\.(\d+)\.(?:0\.)?convs\.(\d+)\.(conv|norm)\.(weight|bias)")
_PLAIN = re.compile(r"decoder\.(transpconvs|seg_layers)\.(\d+)\.(weight|bias)")
_PARTS = {"conv": "conv", "norm": "instnorm", "transpconvs": "tu", "seg_layers": "seg_outputs"}


def has_v2_keys(state: Mapping[str, object]) -> bool:
    """Whether a state dict has v2's names."""
    return any(key.startswith(("encoder.stages.", "encoder.stem.")) for key in state)


def rename_v2_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of v2 under v1's names, aliases dropped; one that has v1's names already is handed back as it is.

    Raises:
        CheckpointError: the network is another than PlainConvUNet (a key of it is named).
    """
    if not has_v2_keys(state):
        return dict(state)
    kept = [key for key in state if not _ALIAS.match(key)]
    units = [match for match in map(_UNIT.fullmatch, kept) if match]
    counts: dict[tuple[str, int], int] = {}
    for match in units:
        stage = (match[1], int(match[2]))
        counts[stage] = max(counts.get(stage, 0), int(match[3]) + 1)
    bottleneck = max((stage for half, stage in counts if half == "encoder"), default=0)
    return {_v1_name(key, counts, bottleneck): state[key] for key in kept}


def _v1_name(key: str, counts: Mapping[tuple[str, int], int], bottleneck: int) -> str:
    if match := _PLAIN.fullmatch(key):
        return f"{_PARTS[match[1]]}.{match[2]}.{match[3]}"
    match = _UNIT.fullmatch(key)
    if match is None:
        raise CheckpointError(
            "the checkpoint is of another network than nnU-Net's plain U-Net",
            received=f"the key {key}",
            expected="keys such as encoder.stages.0.0.convs.0.conv.weight",
            remedy="Networks with residual encoders are not supported.",
        )
    half, stage, unit = match[1], int(match[2]), int(match[3])
    leaf = f"{_PARTS[match[4]]}.{match[5]}"
    if half == "encoder" and stage < bottleneck:
        return f"conv_blocks_context.{stage}.blocks.{unit}.{leaf}"
    # v1 builds the bottleneck and each step up of two stacks: all units but the last, and the last.
    is_last = unit == counts[half, stage] - 1
    name = "conv_blocks_context" if half == "encoder" else "conv_blocks_localization"
    return f"{name}.{stage}.{int(is_last)}.blocks.{0 if is_last else unit}.{leaf}"
