"""The network that a plan of nnU-Net v2 describes: classes by their paths, sizes of every stage.

A class is looked up by its path in a table of known ones; nothing that a plan names is imported. Source:
MIC-DKFZ/nnUNet v2, nnunetv2/utilities/plans_handling/plans_handler.py, and MIC-DKFZ/dynamic-network-architectures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helpers.errors import DataError

PLAIN, RESIDUAL = "PlainConvUNet", "ResidualEncoderUNet"
# Of nnU-Net v1 and of UNet++, ported to v2 under their own names: built from the shapes of their weights.
_FROM_WEIGHTS = ("GenericUNet", "GenericUNetPlusPlus")
_NETWORKS = (PLAIN, RESIDUAL, *_FROM_WEIGHTS)
_OLD_NETWORKS = {"PlainConvUNet": "n_conv_per_stage", "ResidualEncoderUNet": "n_blocks_per_stage"}
_CONVOLUTIONS = ("Conv2d", "Conv3d")
_NORMS = ("InstanceNorm2d", "InstanceNorm3d", "BatchNorm2d", "BatchNorm3d")
_ACTIVATIONS = ("LeakyReLU", "ReLU", "GELU", "SiLU", "ELU", "PReLU", "Mish")
_DROPOUTS = ("Dropout", "Dropout2d", "Dropout3d")  # without effect after training
_BLOCKS = ("BasicBlockD", "BottleneckD")
_MOST_STAGES = 64  # each halves the window
_SIZES = {
    "n_stages",
    "features_per_stage",
    "conv_op",
    "kernel_sizes",
    "strides",
    "n_conv_per_stage",
    "n_blocks_per_stage",
    "n_conv_per_stage_decoder",
    "conv_bias",
    "norm_op",
    "norm_op_kwargs",
    "dropout_op",
    "dropout_op_kwargs",
    "nonlin",
    "nonlin_kwargs",
    "nonlin_first",
    "deep_supervision",
    "block",
    "bottleneck_channels",
    "stem_channels",
}


@dataclass(frozen=True)
class Layer:
    """A layer of PyTorch by the name of its class, and the arguments that a plan gives it."""

    name: str
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class NetworkPlan:
    """A U-Net of nnU-Net v2.

    Attributes:
        kind: "PlainConvUNet" or "ResidualEncoderUNet"; "GenericUNet" or "GenericUNetPlusPlus" for those of v1.
        features: channels of each stage, the first resolution first.
        strides, kernels: of each stage, one number per axis.
        blocks: convolutions, or residual blocks, of each encoder stage.
        decoder_convolutions: of each decoder stage, the deepest first.
        bias: whether convolutions have a bias.
        norm, activation: after each convolution; None without one.
        activation_first: activation before the norm.
        block: "BasicBlockD" or "BottleneckD", of a residual encoder.
        bottleneck_channels: of each stage's BottleneckD.
        stem_channels: of the first convolution of a residual encoder; None: those of the first stage.
    """

    kind: str
    features: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    blocks: tuple[int, ...]
    decoder_convolutions: tuple[int, ...]
    bias: bool = True
    norm: Layer | None = None
    activation: Layer | None = None
    activation_first: bool = False
    block: str = "BasicBlockD"
    bottleneck_channels: tuple[int, ...] | None = None
    stem_channels: int | None = None

    @property
    def is_from_weights(self) -> bool:
        """Whether the network follows from the shapes of its weights alone."""
        return self.kind in _FROM_WEIGHTS


def network_of_v2(settings: Mapping) -> NetworkPlan:
    """Reads the network of a resolved configuration of `plans.json`, in its present form or the first releases'.

    Raises:
        DataError: the network, one of its layers or of its arguments is not known; the message names it.
        KeyError: an entry is missing.
    """
    dims = len(settings["patch_size"])
    kind, options = _architecture(settings, dims)
    unknown = sorted(set(options) - _SIZES)
    if unknown:
        raise _unsupported(f"{kind} with {', '.join(unknown)}", "the arguments of nnU-Net's planners")
    convolution = _layer(options.get("conv_op", f"Conv{dims}d"), None, _CONVOLUTIONS)
    if convolution is None or convolution.name != f"Conv{dims}d":
        raise _unsupported(f"{options['conv_op']} for a window of {dims} axes", f"Conv{dims}d")
    _layer(options.get("dropout_op"), options.get("dropout_op_kwargs"), _DROPOUTS)
    block = _layer(options.get("block", "BasicBlockD"), None, _BLOCKS)
    features = _per_stage(options["features_per_stage"], int(options["n_stages"]))
    stages = len(features)
    bottlenecks, stem = options.get("bottleneck_channels"), options.get("stem_channels")
    return NetworkPlan(
        kind=kind,
        features=features,
        strides=_sizes(options["strides"], stages, dims),
        kernels=_sizes(options["kernel_sizes"], stages, dims),
        blocks=_per_stage(options["n_blocks_per_stage" if kind == RESIDUAL else "n_conv_per_stage"], stages),
        decoder_convolutions=_per_stage(options["n_conv_per_stage_decoder"], stages - 1),
        bias=bool(options.get("conv_bias", False)),
        norm=_layer(options.get("norm_op"), options.get("norm_op_kwargs"), _NORMS),
        activation=_layer(options.get("nonlin"), options.get("nonlin_kwargs"), _ACTIVATIONS),
        activation_first=bool(options.get("nonlin_first", False)),
        block=block.name if block else "BasicBlockD",
        bottleneck_channels=None if bottlenecks is None else _per_stage(bottlenecks, stages),
        stem_channels=None if stem is None else int(stem),
    )


def _architecture(settings: Mapping, dims: int) -> tuple[str, Mapping]:
    architecture = settings.get("architecture")
    path = settings["UNet_class_name"] if architecture is None else architecture["network_class_name"]
    kind = str(path).split(".")[-1]
    known = tuple(_OLD_NETWORKS) if architecture is None else _NETWORKS
    if kind not in known:
        raise _unsupported(kind, " or ".join(known))
    return kind, _old_arguments(kind, settings, dims) if architecture is None else architecture["arch_kwargs"]


def _old_arguments(kind: str, settings: Mapping, dims: int) -> dict:
    """The arguments of a plan of v2's first releases, which lists sizes only."""
    counts = settings["n_conv_per_stage_encoder"]
    base, widest = int(settings["UNet_base_num_features"]), int(settings["unet_max_num_features"])
    return {
        "n_stages": len(counts),
        "features_per_stage": [min(base * 2**stage, widest) for stage in range(len(counts))],
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
        "kernel_sizes": settings["conv_kernel_sizes"],
        "strides": settings["pool_op_kernel_sizes"],
        _OLD_NETWORKS[kind]: counts,
        "n_conv_per_stage_decoder": settings["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def _layer(path: object, options: Mapping | None, known: Sequence[str]) -> Layer | None:
    if path is None:
        return None
    package, _, name = str(path).rpartition(".")
    if name not in known or package.split(".")[0] not in ("", "torch", "dynamic_network_architectures"):
        raise _unsupported(str(path), ", ".join(known))
    return Layer(name, tuple(sorted((options or {}).items())))


def _per_stage(value: object, stages: int) -> tuple[int, ...]:
    if not 0 <= stages <= _MOST_STAGES:
        raise ValueError(f"a network of {stages} stages")
    values = [value] * stages if isinstance(value, int) else [int(each) for each in value]  # type: ignore[attr-defined]
    if len(values) != stages:
        raise ValueError(f"{values} has not one entry for each of {stages} stages")
    return tuple(values)


def _sizes(value: object, stages: int, dims: int) -> tuple[tuple[int, ...], ...]:
    each = [value] * stages if isinstance(value, int) else list(value)  # type: ignore[call-overload]
    if len(each) != stages:
        raise ValueError(f"{each} has not one entry for each of {stages} stages")
    return tuple(_per_stage(size, dims) for size in each)


def _unsupported(received: str, expected: str) -> DataError:
    return DataError("the plan's network is not supported", received=received, expected=expected)
