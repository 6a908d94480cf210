"""UNet++ as nnU-Net trains it (MrGiovanni/UNetPlusPlus e145ba6, generic_UNetPlusPlus.py), same state_dict keys.

Architecture: Zhou et al., "UNet++: Redesigning Skip Connections to Exploit Multiscale Features in Image
Segmentation", arXiv:1912.05074.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from helpers.networks.nnunet import (
    CONVOLUTIONS,
    MAXIMUM_WIDTH,
    TRANSPOSED,
    ConvStack,
    Sizes,
    build_encoder,
    init_he,
    stage_widths,
)

_LIVER_POOLS = ((2, 2, 2),) * 5


class GenericUNetPlusPlus(nn.Module):
    """A grid of nodes X(level, j); each joins all earlier nodes of its level and one upsampled node from below.

    Upstream numbers the diagonals of the grid in reverse: `loc0` and `up0` are the deepest diagonal, the last ones
    the diagonal that ends in X(0, 1). All segmentation outputs are on level 0, `seg_outputs.0` on the deepest node.

    Args:
        input_channels: modalities of the image.
        num_classes: classes of the outputs, background included.
        pool_op_kernel_sizes: stride of each encoder step, one entry per axis; their number is the depth, 5 upstream.
        base_num_features: channels of level 0, doubled at each step.
        conv_kernel_sizes: kernel of each level, one more than there are steps; 3 everywhere by default.
        num_conv_per_stage: units per encoder level and per node.
        max_num_features: maximum width; by default 480 in two dimensions and 320 in three.
        do_ds: deep supervision: return all outputs; may be changed at any time.

    Input (N, input_channels, [Z,] Y, X) float32 whose sides are multiples of the product of the strides, with more
    than one voxel left in the bottleneck. Output: logits (N, num_classes, [Z,] Y, X) of the deepest node; with
    `do_ds` a tuple, the deepest node first and X(0, 1) last, all at full resolution.
    """

    def __init__(
        self,
        input_channels: int = 1,
        num_classes: int = 3,
        pool_op_kernel_sizes: Sizes = _LIVER_POOLS,
        *,
        base_num_features: int = 32,
        conv_kernel_sizes: Sizes | None = None,
        num_conv_per_stage: int = 2,
        max_num_features: int | None = None,
        do_ds: bool = True,
    ):
        super().__init__()
        pools = [tuple(pool) for pool in pool_op_kernel_sizes]
        self.depth, dims = len(pools), len(pools[0])
        kernels = [tuple(kernel) for kernel in conv_kernel_sizes or [(3,) * dims] * (self.depth + 1)]
        widths = stage_widths(base_num_features, self.depth, max_num_features or MAXIMUM_WIDTH[dims])
        self.do_ds = do_ds
        for diagonal in range(self.depth, 0, -1):
            nodes = [
                _node(widths[level], diagonal - level, num_conv_per_stage, kernels[level + 1])
                for level in range(diagonal - 1, -1, -1)
            ]
            setattr(self, f"loc{self.depth - diagonal}", nn.ModuleList(nodes))
        self.conv_blocks_context = build_encoder(input_channels, widths, pools, kernels, num_conv_per_stage)
        for diagonal in range(self.depth, 0, -1):
            ups = [
                TRANSPOSED[dims](widths[level + 1], widths[level], pools[level], pools[level], bias=False)
                for level in range(diagonal - 1, -1, -1)
            ]
            setattr(self, f"up{self.depth - diagonal}", nn.ModuleList(ups))
        self.seg_outputs = nn.ModuleList(
            CONVOLUTIONS[dims](widths[0], num_classes, 1, bias=False) for _ in range(self.depth)
        )
        init_he(self)

    @classmethod
    def liver(cls, base_num_features: int = 32, num_pool: int = 5, **options: Any) -> GenericUNetPlusPlus:
        """The network of Task03 Liver, 128 x 128 x 128, optionally narrower or with fewer steps."""
        return cls(1, 3, _LIVER_POOLS[:num_pool], base_num_features=base_num_features, **options)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, torch.Tensor], **options: Any) -> GenericUNetPlusPlus:
        """Builds the network that fits a state dict, without loading the weights."""
        return cls(**infer_architecture(state), **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        rows: list[list[torch.Tensor]] = []  # rows[level] holds X(level, 0), X(level, 1), …
        outputs = []
        for level, stage in enumerate(self.conv_blocks_context):
            x = stage(x)
            rows.append([x])
            if level:
                self._fill_diagonal(rows, level)
                outputs.append(rows[0][-1])
        if not self.do_ds:
            return self.seg_outputs[0](outputs[-1])
        return tuple(head(node) for head, node in zip(self.seg_outputs, outputs[::-1], strict=True))

    def _fill_diagonal(self, rows: Sequence[list[torch.Tensor]], diagonal: int) -> None:
        ups = getattr(self, f"up{self.depth - diagonal}")
        nodes = getattr(self, f"loc{self.depth - diagonal}")
        for index, (up, node) in enumerate(zip(ups, nodes, strict=True)):
            level = diagonal - 1 - index
            rows[level].append(node(torch.cat([*rows[level], up(rows[level + 1][-1])], dim=1)))


def _node(width: int, position: int, count: int, kernel: Sequence[int]) -> nn.Sequential:
    joined = (position + 1) * width
    return nn.Sequential(ConvStack(joined, width, count - 1, kernel), ConvStack(width, width, 1, kernel))


def infer_architecture(state: Mapping[str, torch.Tensor]) -> dict:
    """The arguments of `GenericUNetPlusPlus` for the shapes in a state dict.

    Raises:
        KeyError: a key is missing, so the state dict belongs to another network.
    """
    depth = 0
    while f"up{depth}.0.weight" in state:
        depth += 1
    firsts = [state[f"conv_blocks_context.{level}.blocks.0.conv.weight"].shape for level in range(depth)]
    bottleneck = state[f"conv_blocks_context.{depth}.0.blocks.0.conv.weight"].shape
    count = sum(key.startswith("conv_blocks_context.0.") and key.endswith("conv.weight") for key in state)
    return {
        "input_channels": int(firsts[0][1]),
        "num_classes": int(state["seg_outputs.0.weight"].shape[0]),
        "pool_op_kernel_sizes": [tuple(state[f"up0.{step}.weight"].shape[2:]) for step in reversed(range(depth))],
        "base_num_features": int(firsts[0][0]),
        "conv_kernel_sizes": [tuple(shape[2:]) for shape in (*firsts, bottleneck)],
        "num_conv_per_stage": count,
        "max_num_features": int(bottleneck[0]),
    }
