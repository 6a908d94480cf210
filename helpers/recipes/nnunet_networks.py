"""Builds the network of a plan of nnU-Net, or the one that fits the weights of v1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from helpers.data.nnunet.network_plan import RESIDUAL, Layer, NetworkPlan

if TYPE_CHECKING:
    import torch


def build_planned(network: NetworkPlan, inputs: int, outputs: int) -> torch.nn.Module:
    """The network that a plan of v2 describes, without the outputs of deep supervision, weights untrained.

    Args:
        network: of the plan.
        inputs: channels of the image, and of the one-hot mask of an earlier stage.
        outputs: labels or regions.
    """
    from helpers.networks.nnunet_v2 import Layers, PlannedUNet

    dims = len(network.strides[0])
    norm, activation = _layer(network.norm), _layer(network.activation)
    return PlannedUNet(
        inputs,
        outputs,
        Layers(dims, network.bias, norm, activation, network.activation_first),
        network.features,
        network.kernels,
        network.strides,
        network.blocks,
        network.decoder_convolutions,
        residual=network.kind == RESIDUAL,
        bottlenecks=network.bottleneck_channels if network.block == "BottleneckD" else None,
        stem_channels=network.stem_channels,
    ).eval()


def build_from_weights(state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """The UNet++ or plain U-Net of v1 that a state dict fits, with one output instead of one per resolution."""
    from helpers.networks.nnunet import GenericUNet
    from helpers.networks.unetpp import GenericUNetPlusPlus

    is_nested = any(key.startswith("loc0.") for key in state)
    network = (GenericUNetPlusPlus if is_nested else GenericUNet).from_state_dict(state)
    network.do_ds = False
    return network.eval()


def _layer(layer: Layer | None) -> tuple[str, dict] | None:
    return None if layer is None else (layer.name, dict(layer.options))
