"""What the trainers of nnU-Net v1 change and no file says: regions, mirroring, norms and activations.

Source: MIC-DKFZ/nnUNet v1.7.1, nnunet/training/network_training. A trainer is known by its name only, which v1 stores
with each checkpoint and in the name of the model folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from helpers.data.nnunet.plan import Plan
from helpers.errors import DataError

# competitions_with_custom_Trainers/BraTS2020: the regions of BraTS, and the label that each paints.
_BRATS_REGIONS = (("whole tumor", (1, 2, 3)), ("tumor core", (2, 3)), ("enhancing tumor", (3,)))
_BRATS_ORDER = (1, 2, 3)
# Trainers that do not mirror, whose models must not be mirrored either.
_WITHOUT_MIRRORS = re.compile(r"noMirroring|noDataAugmentation|NoDA")
# Trainers whose networks are of another kind.
_UNSUPPORTED = re.compile(r"ResencUNet|FRN|_GN|NFNet|allConv")


@dataclass(frozen=True)
class TrainerLayers:
    """The layers that a trainer uses in place of nnU-Net's own.

    Attributes:
        norm: "InstanceNorm", "BatchNorm", or None for no norm.
        activation: name of the class in PyTorch.
        slope: of a LeakyReLU.
        activation_first: whether the activation precedes the norm.
    """

    norm: str | None = "InstanceNorm"
    activation: str = "LeakyReLU"
    slope: float = 0.01
    activation_first: bool = False


def layers_of_trainer(trainer: str) -> TrainerLayers:
    """The layers of a trainer's network, by its name.

    >>> layers_of_trainer("nnUNetTrainerV2_BN").norm, layers_of_trainer("nnUNetTrainerV2_ReLU").activation
    ('BatchNorm', 'ReLU')
    >>> layers_of_trainer("nnUNetTrainerV2_LReLU_slope_2en1").slope
    0.2
    """
    parts = trainer.split("_")
    norm: str | None = "BatchNorm" if "BN" in parts else "InstanceNorm"
    norm = None if "NoNormalization" in parts else norm
    activation = next((theirs for name, theirs in _ACTIVATIONS.items() if name in parts), "LeakyReLU")
    slope = 0.2 if "slope_2en1" in trainer else 0.01
    first = any(part in ("convReLUIN", "convlReLUIN") for part in parts)
    return TrainerLayers(norm, activation, slope, first)


_ACTIVATIONS = {"ReLU": "ReLU", "Mish": "Mish", "GeLU": "GELU"}


def check_trainer(trainer: str) -> None:
    """Refuses a trainer whose network is not known.

    Raises:
        DataError: naming the trainer.
    """
    if _UNSUPPORTED.search(trainer):
        raise DataError(
            "the trainer's network is not supported",
            received=trainer,
            expected="a trainer of nnU-Net's Generic_UNet or of UNet++",
        )


def regions_of_trainer(plan: Plan, trainer: str) -> Plan:
    """The plan with the regions of a trainer of BraTS; others as they are."""
    if "BraTSRegions" not in trainer:
        return plan
    if plan.n_classes != len(_BRATS_REGIONS) + 1:
        raise DataError(
            f"{trainer} separates the three regions of BraTS", received=f"a plan of {plan.n_classes} labels"
        )
    return replace(plan, regions=_BRATS_REGIONS, regions_class_order=_BRATS_ORDER)


def mirrors_of_trainer(trainer: str, dims: int) -> tuple[int, ...]:
    """The axes that a trainer's models may be mirrored along: all, or none.

    >>> mirrors_of_trainer("nnUNetTrainerV2_noMirroring", 3), mirrors_of_trainer("nnUNetTrainerV2", 2)
    ((), (0, 1))
    """
    return () if _WITHOUT_MIRRORS.search(trainer) else tuple(range(dims))
