"""3D UNet++ on MSD Task03: an abdominal CT to liver and lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers.recipes.nnunet_family import NnunetRecipe
from helpers.scoring.dice import dice_of_regions


class UNetPlusPlus3DLiver(NnunetRecipe):
    """Source: Ascend/ModelZoo-PyTorch, ACL_PyTorch/contrib/cv/segmentation/3D_Nested_Unet; network of UNet++.

    The source exports five outputs of which four are thrown away; here the deep-supervision outputs are cut, and
    windows stream from memory where the source writes 20 GB in and 320 GB out a case.
    """

    name = "unetpp3d_liver"
    title = "3D UNet++ / MSD Liver"
    task = "Task03_Liver"
    configuration = "3d_fullres"
    class_names = ("background", "liver", "lesion")
    score_names = ("liver", "lesion")
    grey_window = "ct_abdomen"

    def network(self, variant: str | None = None):
        """The official network: five steps, 32 features, 128 cubed."""
        from helpers.networks.unetpp import GenericUNetPlusPlus

        network = GenericUNetPlusPlus.liver()
        network.do_ds = False
        return network.eval()

    def network_of(self, state: Mapping):
        """The UNet++ that fits a state dict."""
        from helpers.networks.unetpp import GenericUNetPlusPlus

        return GenericUNetPlusPlus.from_state_dict(state)

    def score(self, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
        """Dice of each label, as nnU-Net reports it."""
        return dice_of_regions(prediction, truth, {"liver": (1,), "lesion": (2,)})

    def write_demo_cases(self, root: Path, seeds: Sequence[int]) -> list[str]:
        """CT-like abdomens with planted lesions."""
        from helpers.data.demo.abdomen import write_demo_cases

        return write_demo_cases(root, seeds)
