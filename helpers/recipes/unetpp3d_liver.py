"""3D UNet++ on MSD Task03: an abdominal CT to liver and lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers.data.case import Case
from helpers.recipes.base import Infer, SourceScores
from helpers.recipes.nnunet_family import NnunetParams, NnunetRecipe
from helpers.scoring.dice import dice_of_regions, mean_of_known


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
        """The UNet++ that fits a state dict, or the plain U-Net, which is all that nnU-Net v2 itself trains."""
        from helpers.networks.nnunet import GenericUNet
        from helpers.networks.unetpp import GenericUNetPlusPlus

        plain = any(key.startswith("conv_blocks_localization.") for key in state)
        return (GenericUNet if plain else GenericUNetPlusPlus).from_state_dict(state)

    def score(self, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
        """Dice of each label, as nnU-Net reports it."""
        return dice_of_regions(prediction, truth, {"liver": (1,), "lesion": (2,)})

    def score_as_source(
        self, cases: Sequence[Case], infer: Infer, untrained: Infer, params: NnunetParams
    ) -> SourceScores | None:
        """The mirrors that the model was trained with beside the source's eight, and Accuracy beside Dice."""
        if not len(cases):
            return None
        as_source = params.model_copy(update={"mirror_axes": [0, 1, 2]})
        rows: dict[str, list[dict[str, float | None]]] = {"right": [], "all eight mirrors": [], "an empty answer": []}
        for case in (cases[index] for index in range(min(len(cases), params.source_cases))):
            rows["right"].append(self._figures(self.segment(case, infer, params), case.truth))
            rows["all eight mirrors"].append(self._figures(self.segment(case, infer, as_source), case.truth))
            rows["an empty answer"].append(self._figures(np.zeros_like(case.truth), case.truth))
        means = {
            row: {name: mean_of_known([case[name] for case in found]) for name in found[0]}
            for row, found in rows.items()
        }
        return SourceScores(
            means,
            "The source mirrors along all three axes whatever the model was trained with: right for its own, and at"
            " the cost seen here for one that tells left from right. Its Accuracy counts the background, so an empty"
            " answer has nearly all of it. It compares one fold's 27 cases with other networks' means of five folds.",
        )

    def _figures(self, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
        accuracy = {
            f"{name} accuracy": float(np.mean((prediction == label) == (truth == label)))
            for label, name in enumerate(self.class_names)
            if label
        }
        return {**self.score(prediction, truth), **accuracy}

    def write_demo_cases(self, root: Path, seeds: Sequence[int]) -> list[str]:
        """CT-like abdomens with planted lesions."""
        from helpers.demo.abdomen import write_demo_cases

        return write_demo_cases(root, seeds)
