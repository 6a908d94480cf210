"""UNet on Carvana: a photograph of a car to the car's mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, field_validator

from helpers.data import carvana
from helpers.data.case import Case, CaseFiles
from helpers.errors import CheckpointError, ParameterError
from helpers.graph.spec import GraphSpec
from helpers.inference import InferenceJob, Predictor
from helpers.inference.scores import sigmoid
from helpers.inference.time_limit import while_time_lasts
from helpers.params.model import RunParams
from helpers.recipes.base import LabelSet, Preparation, Recipe, Scores, Scoring, SourceScores
from helpers.recipes.parts import PhotographCases, TorchModel
from helpers.scoring.dice import dice, mean_of_known
from helpers.scoring.iou import foreground_iou, mean_iou, source_eval_value, source_mean_iou

if TYPE_CHECKING:
    import torch


class CarvanaParams(RunParams):
    """The recipe's own parameters."""

    size: int | list[int] = 572
    """Input of the network in pixels: the side of a square, or [height, width], which keep the aspect ratio."""
    class_names: list[str] = Field(default_factory=list)
    """Names of the network's classes, background first; empty: background and car, then numbers."""
    split: Literal["train", "test"] = "train"
    """Photographs with masks (train) or without (test)."""

    @field_validator("size")
    @classmethod
    def _check_size(cls, size: int | list[int]) -> int | list[int]:
        sides = [size, size] if isinstance(size, int) else size
        if len(sides) != 2 or min(sides) < 16:
            raise ValueError("one number, or height and width, of at least 16 pixels")
        return size

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return (self.size, self.size) if isinstance(self.size, int) else (self.size[0], self.size[1])


class UNetModel(TorchModel[CarvanaParams]):
    """The network of Pytorch-UNet, with the tensor names of Ascend/ModelZoo-PyTorch."""

    def build(self, variant: str | None = None) -> torch.nn.Module:
        """The official network; variant "bilinear" has the layout of the project's own released checkpoint."""
        from helpers.networks.unet import UNet

        return UNet(n_channels=3, n_classes=1, bilinear=variant == "bilinear").eval()

    def build_for_state(self, state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        """The network with the width, channels, classes and biases of a state dict.

        Without transposed convolutions it is bilinear. Since December 2021 upstream has no biases before
        normalisations.
        """
        from helpers.networks.unet import UNet

        first, last = state.get("inc.double_conv.0.weight"), state.get("outc.conv.weight")
        if first is None or last is None or first.ndim != 4 or last.ndim != 4:
            return self.build()
        return UNet(
            n_channels=int(first.shape[1]),
            n_classes=int(last.shape[0]),
            bilinear="up1.up.weight" not in state and "up1.conv.double_conv.0.weight" in state,
            base_channels=int(first.shape[0]),
            conv_bias="inc.double_conv.0.bias" in state,
        ).eval()

    def check_params(self, params: CarvanaParams) -> None:
        """Refuses a network for other images than photographs, and names that do not fit its classes."""
        channels, classes = self.channels(params), self.class_count(params)
        if channels not in (1, 3):
            raise CheckpointError(
                f"the network of {params.checkpoint} does not take photographs",
                received=f"{channels} input channels",
                expected="3 (RGB) or 1 (grey)",
                remedy="Use the recipe own_model for other images.",
            )
        if params.class_names and len(params.class_names) != max(classes, 2):
            raise ParameterError(
                "class_names does not fit the network",
                received=f"{len(params.class_names)} names",
                expected=f"{max(classes, 2)}, the background first",
            )

    def channels(self, params: CarvanaParams) -> int:
        """Channels of the network's input."""
        return self.facts(params).length("inc.double_conv.0.weight", 1, default=3)

    def class_count(self, params: CarvanaParams) -> int:
        """Channels of the network's output; one is the foreground's logit."""
        return self.facts(params).length("outc.conv.weight", 0, default=1)

    def mask_values(self, params: CarvanaParams) -> tuple[carvana.MaskValue, ...]:
        """The values of the classes in mask files; empty for background and car, which are 0 and 1, or 0 and 255."""
        values, classes = self.facts(params).mask_values, self.class_count(params)
        if len(values) not in (0, max(classes, 2)):
            raise CheckpointError(
                f"{params.checkpoint} contradicts itself",
                received=f"{len(values)} mask_values for a network of {classes} classes",
                remedy="Save the checkpoint again with the values of its own masks.",
            )
        shapes = {len(value) if isinstance(value, tuple) else 0 for value in values}
        levels = [level for value in values for level in (value if isinstance(value, tuple) else (value,))]
        if len(shapes) > 1 or not shapes <= {0, 3, 4} or not all(0 <= level <= 255 for level in levels):
            raise CheckpointError(
                f"{params.checkpoint} was trained with masks that are not read",
                received=f"mask_values {', '.join(map(str, values[:4]))}",
                expected="grey levels from 0 to 255, or colours (RGB or RGBA) of them",
                remedy="Save it without mask_values to use 0, 1, … as the values of its classes.",
            )
        if set(values) in ({0, 1}, {0, 255}, set()) and classes <= 2:
            return ()
        return values or tuple(range(classes))

    def graph_spec(self, params: CarvanaParams) -> GraphSpec:
        """The source's names. Its table says 388 x 388 x 3; the padded convolutions keep 572 x 572, one channel."""
        return GraphSpec.of_run(params, "actual_input_1", "output1", (self.channels(params), *params.input_size))


@dataclass(frozen=True)
class CarvanaCases(PhotographCases[CarvanaParams]):
    """Photographs of cars; masks are grey PNG files of 0 and 255, or of the values that a checkpoint names."""

    model: UNetModel

    def list_cases(self, root: Path, params: CarvanaParams) -> list[CaseFiles]:
        """Photographs of one split, in any layout; those of `test` have no masks."""
        return carvana.find_carvana_cases(root, params.split)

    def skipped_files(self, root: Path, params: CarvanaParams) -> list[str]:
        """What is missing of Kaggle's layout."""
        return carvana.say_layout(root, params.split)

    def read_case(self, files: CaseFiles, params: CarvanaParams) -> Case:
        """Reads and checks one photograph and its mask."""
        case = carvana.read_carvana_case(files, self.model.mask_values(params))
        if isinstance(params.size, list):
            carvana.check_aspect_ratio(files.files["image"].name, case.image.shape[1:], params.input_size)
        return case

    def write_mask(self, classes: np.ndarray, case: Case, path: Path) -> None:
        """A PNG of 0 and 255, which any viewer shows, or of the classes' own values."""
        carvana.write_mask(path, classes, _mask_values(case))

    def read_mask_file(self, path: Path, case: Case) -> np.ndarray:
        """Classes from a mask file."""
        return carvana.read_class_mask(path, _mask_values(case))

    def write_demo_cases(self, root: Path, seeds: Sequence[int]) -> list[str]:
        """Drawn cars in cluttered showrooms."""
        from helpers.demo.cars import write_demo_cases

        return write_demo_cases(root, seeds)


@dataclass(frozen=True)
class CarvanaPreparation(Preparation[CarvanaParams]):
    """The photograph scaled to the network's size; the probability, or the scores of several classes, scaled back."""

    model: UNetModel

    def prepare_job(self, case: Case, params: CarvanaParams) -> InferenceJob:
        """One sample; its output is scaled to the photograph's own grid before the decision."""
        size = case.image.shape[1:]
        return InferenceJob(self.example_input(case, params), None, lambda logits: _decide(logits[0], *size))

    def example_input(self, case: Case, params: CarvanaParams) -> np.ndarray:
        """The prepared photograph."""
        return carvana.prepare_image(case.image, params.input_size, self.model.channels(params))


@dataclass(frozen=True)
class CarvanaScoring(Scoring[CarvanaParams]):
    """IoU and Dice of the car at the photograph's own size; of every class if the network has several."""

    model: UNetModel

    def labels(self, params: CarvanaParams) -> LabelSet:
        """Background and car, or the checkpoint's classes with their values in mask files."""
        count, values = max(2, self.model.class_count(params)), self.model.mask_values(params)
        usual = ("background", "car") if count == 2 else ("background", *(f"class {i}" for i in range(1, count)))
        grey = tuple(value for value in values if isinstance(value, int))
        return LabelSet(tuple(params.class_names) or usual, grey or ((0, 255) if count == 2 else ()))

    def score_names(self, params: CarvanaParams) -> tuple[str, ...]:
        """IoU and Dice, and those of each class if there are several."""
        names = list(self.labels(params).foreground)
        each = [f"{score} {name}" for score in ("IoU", "Dice") for name in names] if len(names) > 1 else []
        return ("IoU", "Dice", *each)

    def headline_scores(self, params: CarvanaParams) -> tuple[str, ...]:
        """Dice alone."""
        return ("Dice",)

    def score(self, prediction: np.ndarray, truth: np.ndarray, params: CarvanaParams) -> Scores:
        """IoU and Dice of the car, or of each class and their means over the classes."""
        foreground = self.labels(params).foreground
        masks = {name: (prediction == label, truth == label) for name, label in foreground.items()}
        ious = {name: foreground_iou(mask, true) for name, (mask, true) in masks.items()}
        dices = {name: dice(mask, true) for name, (mask, true) in masks.items()}
        means: Scores = {"IoU": mean_iou(list(ious.values())), "Dice": mean_of_known(list(dices.values()))}
        if len(foreground) == 1:
            return means
        each = {
            f"{score} {name}": value for score, by in (("IoU", ious), ("Dice", dices)) for name, value in by.items()
        }
        return means | each

    def score_as_source(
        self, cases: Sequence[Case], predictor: Predictor, params: CarvanaParams
    ) -> SourceScores | None:
        """The source's mean, which drops failed images, and its row-wise value, next to the correct means."""
        if self.model.class_count(params) > 1:
            return None

        def score(case: Case) -> tuple[np.ndarray, np.ndarray, float, float]:
            probability, truth = self._probability(case, predictor, params), case.require_truth()
            mask, scaled = probability > 0.5, carvana.prepare_mask(truth, params.input_size)
            full = foreground_iou(carvana.restore_mask(probability, *truth.shape), truth)
            return mask, scaled, source_eval_value(mask, scaled), full

        done = while_time_lasts(cases, score, predictor)
        small, truths, rows, full = zip(*done, strict=True)
        every = [foreground_iou(mask, truth) for mask, truth in zip(small, truths, strict=True)]
        kept, dropped = source_mean_iou(small, truths)
        return SourceScores(
            {
                "all images": {
                    f"IoU at {_text(params.input_size)}, all images": mean_iou(every),
                    "IoU at full size": mean_iou(full),
                },
                "as the source": {
                    f"IoU at {_text(params.input_size)} without failed images": None if np.isnan(kept) else kept,
                    "images dropped": float(dropped),
                    "'eval value' (mean Dice of rows)": float(np.mean(rows)),
                },
            },
            "The source drops images whose IoU is below 0.5, so its mean can only rise, and its 'eval value' scores"
            " every row of pixels separately. Its 0.9863 is also measured on training images.",
            f"{len(done)} of {len(cases)} images",
        )

    def _probability(self, case: Case, predictor: Predictor, params: CarvanaParams) -> np.ndarray:
        """The probability of the car, (height, width) of the network's input."""
        image = carvana.prepare_image(case.image, params.input_size, self.model.channels(params))
        return sigmoid(predictor.submit(image[None]).result())[0, 0]


def _mask_values(case: Case) -> tuple[carvana.MaskValue, ...]:
    values = case.notes.get("mask_values", ())
    return values if isinstance(values, tuple) else ()


def _decide(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Classes on the photograph's grid from logits (classes, h, w): the car's probability is cut at one half."""
    if len(logits) == 1:
        return carvana.restore_mask(sigmoid(logits)[0], height, width)
    return carvana.restore_classes(logits, height, width)


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}²" if size[0] == size[1] else f"{size[0]} × {size[1]}"


_MODEL = UNetModel("unet_carvana")

# Source: Ascend/ModelZoo-PyTorch, ACL_PyTorch/contrib/cv/segmentation/UNet; network of Pytorch-UNet.
RECIPE = Recipe(
    name="unet_carvana",
    title="UNet / Carvana",
    params_model=CarvanaParams,
    model=_MODEL,
    cases=CarvanaCases(_MODEL),
    preparation=CarvanaPreparation(_MODEL),
    scoring=CarvanaScoring(_MODEL),
    rewrites=("drop_empty_pad",),
    targets_to_lint=("ascend310p3", "ascend310b1"),
)
