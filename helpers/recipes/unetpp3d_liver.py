"""3D UNet++ on MSD Task03: an abdominal CT to liver and lesions.

The source exports five outputs and discards four; here the deep-supervision outputs are cut. Windows stream from
memory, whereas the source writes 20 GB of input and 320 GB of output per case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from helpers.data.case import Case
from helpers.demo.abdomen import write_demo_cases
from helpers.inference import Predictor
from helpers.inference.time_limit import while_time_lasts
from helpers.recipes.base import Recipe, Scores, SourceScores
from helpers.recipes.nnunet_family import (
    NnunetCases,
    NnunetDemo,
    NnunetModel,
    NnunetParams,
    NnunetPreparation,
    NnunetScoring,
    mean_rows,
    single_output,
)

if TYPE_CHECKING:
    import torch


class LiverModel(NnunetModel[NnunetParams]):
    """UNet++ in the form of nnU-Net v1, or the plain U-Net, which is all that nnU-Net v2 itself trains."""

    def build(self, variant: str | None = None) -> torch.nn.Module:
        """The official network: five steps, 32 features, 128 cubed."""
        from helpers.networks.unetpp import GenericUNetPlusPlus

        return single_output(GenericUNetPlusPlus.liver())


class LiverScoring(NnunetScoring[NnunetParams]):
    """Adds the scores that the source's mirrors and its Accuracy reach."""

    def score_as_source(
        self, cases: Sequence[Case], predictor: Predictor, params: NnunetParams
    ) -> SourceScores | None:
        """The mirrors that the model was trained with next to the source's eight, and Accuracy next to Dice."""
        segment = self.preparation.segment
        as_source = params.model_copy(update={"mirror_axes": [0, 1, 2]})

        def score(index: int) -> list[Scores]:
            case = cases[index]
            truth = case.require_truth()
            masks = [segment(case, predictor, used) for used in (params, as_source)]
            return [self._figures(mask, truth, params) for mask in (*masks, np.zeros_like(truth))]

        chosen = range(min(len(cases), params.source_cases))
        done = while_time_lasts(chosen, score, predictor)
        rows = ("the model's mirrors", "all eight mirrors", "empty mask")
        return SourceScores(
            mean_rows(dict(zip(rows, zip(*done, strict=True), strict=True))),
            "The source mirrors along all three axes, whichever the model was trained with: correct for its own"
            " model, at the cost shown here for one that distinguishes left from right. Its Accuracy counts the"
            " background, so that even an empty mask has an accuracy of nearly 1. It compares 27 cases of one fold"
            " with other networks' means over five folds.",
            f"{len(done)} of {len(chosen)} cases",
        )

    def _figures(self, prediction: np.ndarray, truth: np.ndarray, params: NnunetParams) -> Scores:
        accuracy = {
            f"{name} accuracy": float(np.mean((prediction == label) == (truth == label)))
            for name, label in self.labels(params).foreground.items()
        }
        return {**self.score(prediction, truth, params), **accuracy}


_TITLE, _TASK, _CLASSES = "3D UNet++ / MSD Liver", "Task03_Liver", ("background", "liver", "lesion")
_MODEL = LiverModel("unetpp3d_liver", NnunetDemo("3d_fullres", _CLASSES))
_PREPARATION = NnunetPreparation(_MODEL)

# Source: Ascend/ModelZoo-PyTorch, ACL_PyTorch/contrib/cv/segmentation/3D_Nested_Unet; network of UNet++.
RECIPE = Recipe(
    name="unetpp3d_liver",
    title=_TITLE,
    params_model=NnunetParams,
    model=_MODEL,
    cases=NnunetCases(_MODEL, _TASK, write_demo_cases, grey_window="ct_abdomen"),
    preparation=_PREPARATION,
    scoring=LiverScoring(
        _MODEL,
        _PREPARATION,
        title=_TITLE,
        task=_TASK,
        class_names=_CLASSES,
        renamed_scores={"cancer": "lesion"},
    ),
)
