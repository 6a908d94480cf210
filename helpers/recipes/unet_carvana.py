"""UNet on Carvana: a photograph of a car to the car's mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from helpers.data import carvana
from helpers.data.case import Case, CaseFiles
from helpers.graph.spec import GraphSpec
from helpers.inference import InferenceJob, Predictor
from helpers.inference.scores import sigmoid
from helpers.params.model import RunParams
from helpers.recipes.base import LabelSet, Preparation, Recipe, Scores, Scoring, SourceScores
from helpers.recipes.parts import PhotographCases, TorchModel
from helpers.scoring.dice import dice
from helpers.scoring.iou import foreground_iou, mean_iou, source_eval_value, source_mean_iou

if TYPE_CHECKING:
    import torch


class CarvanaParams(RunParams):
    """The recipe's own parameters."""

    size: int = Field(572, ge=16)
    """Side of the network's square input, in pixels."""
    split: Literal["train", "test"] = "train"
    """Photographs with masks (train) or without (test)."""


class UNetModel(TorchModel[CarvanaParams]):
    """The network of Pytorch-UNet, with the tensor names of Ascend/ModelZoo-PyTorch."""

    def build(self, variant: str | None = None) -> torch.nn.Module:
        """The official network; variant "bilinear" has the layout of the project's own released checkpoint."""
        return self._of_width(64, bilinear=variant == "bilinear")

    def build_for_state(self, state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        """The network as wide as a state dict's first convolution; without transposed convolutions it is bilinear."""
        first = state.get("inc.double_conv.0.weight")
        width = 64 if first is None or first.ndim != 4 else int(first.shape[0])
        bilinear = bool(state) and "up1.up.weight" not in state and "up1.conv.double_conv.0.weight" in state
        return self._of_width(width, bilinear=bilinear)

    def graph_spec(self, params: CarvanaParams) -> GraphSpec:
        """The source's names. Its table says 388 x 388 x 3; the padded convolutions keep 572 x 572, one channel."""
        return GraphSpec.of_run(params, "actual_input_1", "output1", (3, params.size, params.size))

    def _of_width(self, width: int, *, bilinear: bool) -> torch.nn.Module:
        from helpers.networks.unet import UNet

        return UNet(n_channels=3, n_classes=1, bilinear=bilinear, base_channels=width).eval()


class CarvanaCases(PhotographCases[CarvanaParams]):
    """Photographs of cars; masks are grey PNG files of 0 and 255."""

    def list_cases(self, root: Path, params: CarvanaParams) -> list[CaseFiles]:
        """Photographs of one split, in any layout; those of `test` have no masks."""
        return carvana.find_carvana_cases(root, params.split)

    def skipped_files(self, root: Path, params: CarvanaParams) -> list[str]:
        """What is missing of Kaggle's layout."""
        return carvana.say_layout(root, params.split)

    def read_case(self, files: CaseFiles, params: CarvanaParams) -> Case:
        """Reads and checks one photograph and its mask."""
        return carvana.read_carvana_case(files)

    def write_mask(self, classes: np.ndarray, case: Case, path: Path) -> None:
        """A grey PNG of 0 and 255, which any viewer shows."""
        carvana.write_mask(path, classes)

    def read_mask_file(self, path: Path) -> np.ndarray:
        """0 and 1 from a mask file."""
        return carvana.read_mask(path)

    def write_demo_cases(self, root: Path, seeds: Sequence[int]) -> list[str]:
        """Drawn cars in cluttered showrooms."""
        from helpers.demo.cars import write_demo_cases

        return write_demo_cases(root, seeds)


class CarvanaPreparation(Preparation[CarvanaParams]):
    """The photograph scaled to a square; the probability scaled back."""

    def prepare_job(self, case: Case, params: CarvanaParams) -> InferenceJob:
        """One sample; the mask on the photograph's own grid is the probability scaled up, then cut at one half."""
        size = case.image.shape[1:]
        return InferenceJob(
            self.example_input(case, params), None, lambda logits: carvana.restore_mask(sigmoid(logits)[0, 0], *size)
        )

    def example_input(self, case: Case, params: CarvanaParams) -> np.ndarray:
        """The prepared photograph."""
        return carvana.prepare_image(case.image, params.size)


class CarvanaScoring(Scoring[CarvanaParams]):
    """IoU and Dice of the car at the photograph's own size."""

    def labels(self, params: CarvanaParams) -> LabelSet:
        """Background and car."""
        return LabelSet(("background", "car"), (0, 255))

    def score_names(self, params: CarvanaParams) -> tuple[str, ...]:
        """IoU and Dice."""
        return ("IoU", "Dice")

    def headline_scores(self, params: CarvanaParams) -> tuple[str, ...]:
        """Dice alone."""
        return ("Dice",)

    def score(self, prediction: np.ndarray, truth: np.ndarray, params: CarvanaParams) -> Scores:
        """IoU and Dice of the car."""
        return {"IoU": foreground_iou(prediction, truth), "Dice": dice(prediction > 0, truth > 0)}

    def score_as_source(
        self, cases: Sequence[Case], predictor: Predictor, params: CarvanaParams
    ) -> SourceScores | None:
        """The source's mean, which drops failed images, and its row-wise value, next to the correct means."""
        if not len(cases):
            return None
        small, truths, rows, full = [], [], [], []
        for case in cases:
            probability = _probability(case, predictor, params)
            small.append(probability > 0.5)
            truth = case.require_truth()
            truths.append(carvana.prepare_mask(truth, params.size))
            rows.append(source_eval_value(small[-1], truths[-1]))
            full.append(foreground_iou(carvana.restore_mask(probability, *truth.shape), truth))
        every = [foreground_iou(mask, truth) for mask, truth in zip(small, truths, strict=True)]
        kept, dropped = source_mean_iou(small, truths)
        return SourceScores(
            {
                "all images": {
                    f"IoU at {params.size}², all images": mean_iou(every),
                    "IoU at full size": mean_iou(full),
                },
                "as the source": {
                    f"IoU at {params.size}² without failed images": None if np.isnan(kept) else kept,
                    "images dropped": float(dropped),
                    "'eval value' (mean Dice of rows)": float(np.mean(rows)),
                },
            },
            "The source drops images whose IoU is below 0.5, so its mean can only rise, and its 'eval value' scores"
            " every row of pixels separately. Its 0.9863 is also measured on training images.",
        )


def _probability(case: Case, predictor: Predictor, params: CarvanaParams) -> np.ndarray:
    """The probability of the car, (size, size)."""
    return sigmoid(predictor.submit(carvana.prepare_image(case.image, params.size)[None]).result())[0, 0]


# Source: Ascend/ModelZoo-PyTorch, ACL_PyTorch/contrib/cv/segmentation/UNet; network of Pytorch-UNet.
RECIPE = Recipe(
    name="unet_carvana",
    title="UNet / Carvana",
    params_model=CarvanaParams,
    model=UNetModel("unet_carvana"),
    cases=CarvanaCases(),
    preparation=CarvanaPreparation(),
    scoring=CarvanaScoring(),
    rewrites=("drop_empty_pad",),
    targets_to_lint=("ascend310p3", "ascend310b1"),
)
