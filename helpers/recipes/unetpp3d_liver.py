"""3D UNet++ on MSD Task03: an abdominal CT to liver and lesions.

The source exports five outputs and discards four; here the deep-supervision outputs are cut. Windows stream from
memory, whereas the source writes 20 GB of input and 320 GB of output per case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from helpers.data.case import Case
from helpers.data.nnunet.plan import Plan
from helpers.demo.abdomen import write_demo_cases
from helpers.inference import Predictor
from helpers.inference.time_limit import seconds_left, while_time_lasts
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
        """The mirrors that the model was trained with next to the source's eight, and Accuracy next to Dice.

        Eight passes over whole cases take longer than the masks did. In limited time, one window of each case around
        its liver is compared.
        """
        segment = self.preparation.segment
        as_source = params.model_copy(update={"mirror_axes": [0, 1, 2]})
        is_limited = math.isfinite(seconds_left(predictor))

        def score(index: int) -> list[Scores]:
            case = _around_truth(cases[index], self.model.plan(params)) if is_limited else cases[index]
            truth = case.require_truth()
            ours = segment(case, predictor, params) if case.prediction is None else case.prediction
            masks = (ours, segment(case, predictor, as_source))
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
            f"{'one window of each of ' if is_limited else ''}{len(done)} of {len(chosen)} cases",
        )

    def _figures(self, prediction: np.ndarray, truth: np.ndarray, params: NnunetParams) -> Scores:
        accuracy = {
            f"{name} accuracy": float(np.mean((prediction == label) == (truth == label)))
            for name, label in self.labels(params).foreground.items()
        }
        return {**self.score(prediction, truth, params), **accuracy}


def _around_truth(case: Case, plan: Plan) -> Case:
    """The part of a case that fills one window of the plan, around the middle of its truth."""
    truth, geometry = case.require_truth(), case.require_geometry()
    marked = np.nonzero(truth)
    box = []
    for axis, size in enumerate(truth.shape):
        position = plan.transpose_forward.index(axis) - (3 - len(plan.patch_size))
        side = size
        if position >= 0:
            side_mm = plan.patch_size[position] * plan.spacing_mm[position]
            side = min(size, math.ceil(side_mm / geometry.spacing_mm_zyx[axis]))
        middle = int(np.median(marked[axis])) if len(marked[axis]) else size // 2
        start = max(0, min(middle - side // 2, size - side))
        box.append(slice(start, start + side))
    part = tuple(box)
    cut = np.ascontiguousarray(case.image[(slice(None), *part)])
    return replace(
        case,
        image=cut,
        truth=np.ascontiguousarray(truth[part]),
        geometry=replace(geometry, size_zyx=cut.shape[1:]),
        prediction=None,
    )


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
