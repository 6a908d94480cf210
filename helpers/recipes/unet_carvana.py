"""UNet on Carvana: a photograph of a car to the car's mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from helpers.data import carvana
from helpers.data.case import Case, CaseFiles
from helpers.data.picture import write_picture
from helpers.errors import DataError
from helpers.graph.spec import GraphSpec
from helpers.inference import InferenceJob
from helpers.inference.scores import sigmoid
from helpers.params.model import RunParams
from helpers.recipes.base import Infer, Recipe, SourceScores
from helpers.scoring.dice import dice
from helpers.scoring.iou import foreground_iou, mean_iou, source_eval_value, source_mean_iou


class CarvanaParams(RunParams):
    """Parameters of this recipe on top of the shared ones."""

    size: int = Field(572, ge=16)
    """Side of the square that the network sees, in pixels."""
    split: Literal["train", "test"] = "train"
    """Photographs with masks (train) or without (test)."""


class UNetCarvana(Recipe):
    """Source: Ascend/ModelZoo-PyTorch, ACL_PyTorch/contrib/cv/segmentation/UNet; network of Pytorch-UNet."""

    name = "unet_carvana"
    title = "UNet / Carvana"
    params_model = CarvanaParams
    class_names = ("background", "car")
    score_names = ("IoU", "Dice")
    headline_scores = ("Dice",)
    rewrites = ("drop_empty_pad",)
    targets_to_lint = ("ascend310p3", "ascend310b1")
    mask_suffix = ".png"

    def network(self, variant: str | None = None):
        """The official network; variant "bilinear" has the layout of the project's own released checkpoint."""
        from helpers.networks.unet import UNet

        return UNet(n_channels=3, n_classes=1, bilinear=variant == "bilinear").eval()

    def network_for(self, state: Mapping):
        """The network as wide as a state dict's first convolution; without transposed convolutions it is bilinear."""
        from helpers.networks.unet import UNet

        first = state.get("inc.double_conv.0.weight")
        width = 64 if first is None or first.ndim != 4 else int(first.shape[0])
        bilinear = bool(state) and "up1.up.weight" not in state and "up1.conv.double_conv.0.weight" in state
        return UNet(n_channels=3, n_classes=1, bilinear=bilinear, base_channels=width).eval()

    def graph_spec(self, params: CarvanaParams) -> GraphSpec:
        """The source's names. Its table says 388 x 388 x 3; the padded convolutions keep 572 x 572, one channel."""
        return GraphSpec.of_run(params, "actual_input_1", "output1", (3, params.size, params.size))

    def list_cases(self, root: Path, params: CarvanaParams) -> list[CaseFiles]:
        """Photographs of one split; those of `test` have no masks."""
        masks = carvana.MASKS if params.split == "train" else None
        cases = carvana.find_cases(root, params.split, masks)
        return [CaseFiles(case.case_id, {"image": case.image}, case.mask) for case in cases]

    def read_case(self, case: CaseFiles, params: CarvanaParams) -> Case:
        """Reads and checks one photograph and its mask."""
        image, mask = carvana.read_case(carvana.CarvanaCase(case.id, case.files["image"], case.truth))
        return Case(case.id, image, mask, None)

    def prepare_job(self, case: Case, params: CarvanaParams) -> InferenceJob:
        """One sample; the mask on the photograph's own grid is the probability scaled up, then cut at one half."""
        size = case.image.shape[1:]
        return InferenceJob(
            self.example_input(case, params), None, lambda logits: carvana.restore_mask(sigmoid(logits)[0, 0], *size)
        )

    def example_input(self, case: Case, params: CarvanaParams) -> np.ndarray:
        """The prepared photograph."""
        return carvana.prepare_image(case.image, params.size)

    def write_mask(self, classes: np.ndarray, case: Case, path: Path) -> None:
        """A grey PNG of 0 and 255, which any viewer shows."""
        write_picture(path, classes * np.uint8(255))

    def read_mask(self, path: Path, case: Case) -> np.ndarray:
        """0 and 1 from a written mask."""
        mask = carvana.read_mask(path)
        if mask.shape != case.image.shape[1:]:
            raise DataError(f"{path.name} has another size", received=mask.shape, expected=case.image.shape[1:])
        return mask

    def score(self, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
        """IoU and Dice of the car at the photograph's own size."""
        return {"IoU": foreground_iou(prediction, truth), "Dice": dice(prediction > 0, truth > 0)}

    def write_demo_cases(self, root: Path, seeds: Sequence[int]) -> list[str]:
        """Drawn cars in cluttered showrooms."""
        from helpers.demo.cars import write_demo_cases

        return write_demo_cases(root, seeds)

    def score_as_source(
        self, cases: Sequence[Case], infer: Infer, untrained: Infer, params: CarvanaParams
    ) -> SourceScores | None:
        """The source's mean, which drops failed images, and its row-wise value, beside the right means."""
        if not len(cases):
            return None
        small, truths, rows, full = [], [], [], []
        for case in cases:
            probability = self._probability(case, infer, params)
            small.append(probability > 0.5)
            truths.append(carvana.prepare_mask(case.truth, params.size))
            rows.append(source_eval_value(small[-1], truths[-1]))
            full.append(foreground_iou(carvana.restore_mask(probability, *case.truth.shape), case.truth))
        every = [foreground_iou(mask, truth) for mask, truth in zip(small, truths, strict=True)]
        kept, dropped = source_mean_iou(small, truths)
        return SourceScores(
            {
                "right": {f"IoU at {params.size}², all images": mean_iou(every), "IoU at full size": mean_iou(full)},
                "as the source": {
                    f"IoU at {params.size}² without failed images": None if np.isnan(kept) else kept,
                    "images dropped": float(dropped),
                    "'eval value' (mean Dice of rows)": float(np.mean(rows)),
                },
            },
            "The source leaves out images whose IoU is below 0.5, so its mean can only rise, and its 'eval value'"
            " scores every row of pixels by itself. Its 0.9863 is also measured on training images.",
        )

    def _probability(self, case: Case, infer: Infer, params: CarvanaParams) -> np.ndarray:
        return sigmoid(infer(carvana.prepare_image(case.image, params.size)[None]))[0, 0]
