"""Builds the network of a plan of nnU-Net, or the one that fits the weights of v1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from helpers.data.nnunet.network_plan import RESIDUAL, Layer, NetworkPlan
from helpers.data.nnunet.plan import Plan
from helpers.data.nnunet.v1_trainers import TrainerLayers
from helpers.errors import CheckpointError

if TYPE_CHECKING:
    import torch


def build_planned(network: NetworkPlan, inputs: int, outputs: int) -> torch.nn.Module:
    """The network that a plan of v2 describes, without the outputs of deep supervision, weights untrained.

    Args:
        network: of the plan.
        inputs: channels of the image, and of the one-hot mask of an earlier stage.
        outputs: labels or regions.
    """
    from helpers.networks.nnunet_v2 import Layers, PlainConvUNet, ResidualEncoderUNet

    dims = len(network.strides[0])
    norm, activation = _layer(network.norm), _layer(network.activation)
    kind = ResidualEncoderUNet if network.kind == RESIDUAL else PlainConvUNet
    return kind(
        inputs,
        outputs,
        Layers(dims, network.bias, norm, activation, network.activation_first),
        network.features,
        network.kernels,
        network.strides,
        network.blocks,
        network.decoder_convolutions,
        bottlenecks=network.bottleneck_channels if network.block == "BottleneckD" else None,
        stem_channels=network.stem_channels,
    ).eval()


def build_from_weights(state: Mapping[str, torch.Tensor], layers: TrainerLayers | None = None) -> torch.nn.Module:
    """The UNet++ or plain U-Net of v1 that a state dict fits, with one output instead of one per resolution.

    Args:
        state: with v1's keys.
        layers: of the trainer, if they are not nnU-Net's own.

    Raises:
        CheckpointError: the weights are those of another network.
    """
    from helpers.networks.nnunet import GenericUNet
    from helpers.networks.unetpp import GenericUNetPlusPlus

    is_nested = any(key.startswith("loc0.") for key in state)
    try:
        network = (GenericUNetPlusPlus if is_nested else GenericUNet).from_state_dict(state)
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(
            "the checkpoint does not belong to nnU-Net's plain U-Net or UNet++",
            received=f"{len(state)} tensors, such as {next(iter(state), 'none')}; {error} is missing",
            remedy="Use a model of nnU-Net's Generic_UNet, of UNet++ or of nnU-Net v2.",
        ) from None
    if layers is not None and layers != TrainerLayers():
        _replace_layers(network, layers)
    network.do_ds = False
    return network.eval()


def check_channels(network: torch.nn.Module, plan: Plan) -> None:
    """Refuses weights of v1 that are for other channels or labels than the plan's.

    Raises:
        CheckpointError: naming both.
    """
    state = network.state_dict()
    inputs = state["conv_blocks_context.0.blocks.0.conv.weight"].shape[1]
    outputs = state["seg_outputs.0.weight"].shape[0]
    if (inputs, outputs) != (plan.n_inputs, plan.n_outputs):
        raise CheckpointError(
            "the weights do not fit the plan of their folder",
            received=f"{inputs} input channels and {outputs} outputs",
            expected=f"{plan.n_inputs} and {plan.n_outputs}, for {plan.configuration}",
            remedy="A trainer with labels or regions of its own is supported only if its plan has them.",
        )


def _replace_layers(network: torch.nn.Module, layers: TrainerLayers) -> None:
    import torch

    from helpers.networks.nnunet import ConvUnit

    options = {"negative_slope": layers.slope} if layers.activation == "LeakyReLU" else {}
    made = {"LeakyReLU": torch.nn.LeakyReLU, "ReLU": torch.nn.ReLU, "Mish": torch.nn.Mish, "GELU": torch.nn.GELU}
    for module in network.modules():
        if isinstance(module, ConvUnit):
            module.replace_layers(layers.norm, made[layers.activation](**options), layers.activation_first)


def _layer(layer: Layer | None) -> tuple[str, dict] | None:
    return None if layer is None else (layer.name, dict(layer.options))
