"""What a plan of nnU-Net says: which form a case has to have, and which network was trained on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ChannelNorm:
    """How one channel is normalised.

    `scheme`: "ct" (clip, then the training foreground's mean and sd), "ct2" (clip, then the case's own), "zscore",
    "none", "rescale_to_01", "rgb_to_01". `use_mask`: only voxels inside the nonzero region count, the rest is zero.
    The statistics are those of the training set's foreground, None where the scheme needs none.
    """

    scheme: str
    use_mask: bool = False
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Plan:
    """A plan of nnU-Net.

    Attributes:
        version: 1 or 2; the order of normalising and resampling, and what is averaged, follow from it.
        configuration: "2d", "3d_fullres", "3d_lowres".
        patch_size: window in voxels, (Z, Y, X), or (Y, X) for slices of the first axis.
        spacing_mm: target spacing of the window's axes, after the transposition.
        transpose_forward, transpose_backward: of the spatial axes, before and after.
        channels: normalisation of each.
        class_names: the background first; names are "1", "2", ... where the plan has none.
        pools: stride of each step down; `kernels`: of each stage; `n_convolutions` of a stage.
        base_features: channels of the first stage; `largest_width`: of any stage.
        interpolation_order, interpolation_order_z: of the image; masks go back with order 1 and 0.
    """

    version: int
    configuration: str
    patch_size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    transpose_forward: tuple[int, ...]
    transpose_backward: tuple[int, ...]
    channels: tuple[ChannelNorm, ...]
    class_names: tuple[str, ...]
    pools: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    n_convolutions: int
    base_features: int
    largest_width: int
    interpolation_order: int = 3
    interpolation_order_z: int = 0

    @property
    def n_classes(self) -> int:
        """Classes of the network's output, background included."""
        return len(self.class_names)

    @property
    def activation(self) -> str | None:
        """What windows are averaged after: softmax in v1, nothing (logits) in v2."""
        return "softmax" if self.version == 1 else None

    def network_arguments(self) -> dict:
        """Arguments of `helpers.networks.nnunet.GenericUNet`."""
        arguments = {
            "input_channels": len(self.channels),
            "num_classes": self.n_classes,
            "pool_op_kernel_sizes": self.pools,
            "base_num_features": self.base_features,
            "conv_kernel_sizes": self.kernels,
            "num_conv_per_stage": self.n_convolutions,
            "max_num_features": self.largest_width,
        }
        if self.version == 2:
            arguments |= {"decoder_kernel_sizes": self.kernels[-2::-1], "decoder_bias": True}
        return arguments
