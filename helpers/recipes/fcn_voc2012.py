"""FCN-R50-D8 on VOC2012: a photograph to 21 classes. The source calls it FCN-8s; it has no skip fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from helpers.data import voc
from helpers.data.case import Case, CaseFiles
from helpers.data.letterbox import Letterboxed, letterbox, restore_as_source, restore_exact
from helpers.errors import CheckpointError, ParameterError
from helpers.graph.spec import GraphSpec
from helpers.inference import InferenceJob, Predictor
from helpers.inference.time_limit import seconds_left, while_time_lasts
from helpers.params.model import RunParams
from helpers.recipes.base import LabelSet, Preparation, Recipe, Scores, Scoring, SourceScores
from helpers.recipes.parts import SECONDS_FOR_TORCH, PhotographCases, TorchModel, run_network
from helpers.scoring.confusion import ConfusionMatrix

if TYPE_CHECKING:
    import torch


class VocParams(RunParams):
    """The recipe's own parameters."""

    size: int = Field(500, ge=32)
    """Side of the square that an image is fitted into, in pixels."""
    split: str = "val"
    """File of `ImageSets/Segmentation/` (if there is none, all images are run), or labelled: all with a label."""
    graph_output: Literal["logits", "classes"] = "logits"
    """Output of the graph: scores, or classes as in the source."""
    class_names: list[str] = Field(default_factory=list)
    """Names of the network's classes; empty: the checkpoint's, or VOC's if there are 21."""
    other_size: int = Field(512, ge=32)
    """A second side, scored for comparison."""


class FCNModel(TorchModel[VocParams]):
    """The network of mmsegmentation, with the tensor names of Ascend/ModelZoo-PyTorch."""

    def build(self, variant: str | None = None) -> torch.nn.Module:
        """The official network."""
        from helpers.networks.fcn import FCNResNet50D8

        return FCNResNet50D8().eval()

    def build_for_state(self, state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        """The network with the widths, depths and classes of a state dict, with or without an auxiliary head."""
        from helpers.networks.fcn import FCNResNet50D8

        return FCNResNet50D8.from_state_dict(state).eval()

    def check_params(self, params: VocParams) -> None:
        """Refuses a network of one output, which has no class to choose from, and names that do not fit."""
        count = self.class_count(params)
        if count < 2:
            raise CheckpointError(
                f"the network of {params.checkpoint} has one output channel",
                expected="two classes or more, the largest of which is chosen",
                remedy="Use the recipe own_model, which cuts a probability.",
            )
        if params.class_names and len(params.class_names) != count:
            raise ParameterError(
                "class_names does not fit the network",
                received=f"{len(params.class_names)} names",
                expected=f"{count}, the background first",
            )

    def class_count(self, params: VocParams) -> int:
        """Channels of the network's output."""
        return self.facts(params).length("decode_head.conv_seg.weight", 0, default=len(voc.CLASSES))

    def class_names(self, params: VocParams) -> tuple[str, ...]:
        """The names that the run gives, else the checkpoint's, else VOC's for 21 classes, else numbers."""
        count, stored = self.class_count(params), self.facts(params).class_names
        if params.class_names:
            return tuple(params.class_names)
        if len(stored) == count:
            return stored
        return voc.CLASSES if count == len(voc.CLASSES) else tuple(f"class {index}" for index in range(count))

    def wrap_for_export(self, network: torch.nn.Module, params: VocParams) -> torch.nn.Module:
        """With `graph_output: classes` the graph ends in softmax and ArgMax, as the source's does."""
        from helpers.networks.fcn import ClassMap

        return ClassMap(network) if params.graph_output == "classes" else network

    def graph_spec(self, params: VocParams) -> GraphSpec:
        """The source's names; its class map counts samples on axis 1."""
        axis = 1 if params.graph_output == "classes" else 0
        return GraphSpec.of_run(params, "input", "output", (3, params.size, params.size), axis)


@dataclass(frozen=True)
class VocCases(PhotographCases[VocParams]):
    """Images of a split; masks are palette PNG files in VOC's own colours."""

    model: FCNModel

    def list_cases(self, root: Path, params: VocParams) -> list[CaseFiles]:
        """The images of a split (`labelled`: all with a label)."""
        return voc.list_voc_cases(root, params.split)

    def skipped_files(self, root: Path, params: VocParams) -> list[str]:
        """What is missing of VOC's layout."""
        return voc.say_layout(root)

    def read_case(self, files: CaseFiles, params: VocParams) -> Case:
        """Reads and checks one image and its label."""
        return voc.read_voc_case(files, self.model.class_names(params))

    def write_mask(self, classes: np.ndarray, case: Case, path: Path) -> None:
        """A palette PNG in VOC's own colours."""
        voc.write_label(path, classes)

    def read_mask_file(self, path: Path, case: Case) -> np.ndarray:
        """Class numbers from a mask file."""
        return voc.read_label(path)

    def write_demo_cases(self, root: Path, seeds: Sequence[int]) -> list[str]:
        """Drawn scenes of textured objects."""
        from helpers.demo.voc_scenes import write_demo_cases

        return list(write_demo_cases(root, seeds))


class VocPreparation(Preparation[VocParams]):
    """The image letterboxed into a square; its class map is cut and scaled back."""

    def prepare_job(self, case: Case, params: VocParams) -> InferenceJob:
        """One sample, the letterboxed image; its class map is cut and scaled to the image's own size."""
        boxed = _prepare(case, params.size)
        return InferenceJob(boxed.image, None, lambda output: restore_exact(_class_map(output), boxed))

    def example_input(self, case: Case, params: VocParams) -> np.ndarray:
        """The letterboxed image."""
        return _prepare(case, params.size).image


@dataclass(frozen=True)
class VocScoring(Scoring[VocParams]):
    """IoU and accuracy over all pixels of all images, as mmsegmentation sums them."""

    model: FCNModel

    def labels(self, params: VocParams) -> LabelSet:
        """VOC's 21 classes, or those of a checkpoint with others."""
        return LabelSet(self.model.class_names(params), ignore=voc.IGNORE_INDEX)

    def score_names(self, params: VocParams) -> tuple[str, ...]:
        """Mean IoU (over all classes, and over those present), mean and overall accuracy."""
        return ("mIoU", "mIoU_present", "mAcc", "aAcc")

    def headline_scores(self, params: VocParams) -> tuple[str, ...]:
        """The mean IoU over the classes present."""
        return ("mIoU_present",)

    def score(self, prediction: np.ndarray, truth: np.ndarray, params: VocParams) -> Scores:
        """Scores of one image alone; the data set's are summed over all pixels first."""
        return _scores(_confusion(prediction, truth, self.model.class_count(params)).counts)

    def tally(self, prediction: np.ndarray, truth: np.ndarray, params: VocParams) -> np.ndarray | None:
        """The image's confusion matrix."""
        return _confusion(prediction, truth, self.model.class_count(params)).counts

    def aggregate(
        self, scores: Sequence[Mapping[str, float | None]], tallies: Sequence[np.ndarray | None], params: VocParams
    ) -> Scores:
        """The scores over all pixels of all images, and IoU and accuracy of each class."""
        if not len(tallies):
            return dict.fromkeys(self.score_names(params))
        counts = np.sum([tally for tally in tallies if tally is not None], axis=0)
        matrix = ConfusionMatrix(counts.shape[0])
        matrix.counts += counts
        result = matrix.scores()
        means = _scores(counts)
        for name, iou, acc in zip(self.model.class_names(params), result.iou, result.acc, strict=True):
            if not np.isnan(iou):
                means |= {f"IoU {name}": iou, f"Acc {name}": _known(acc)}
        return means

    def score_as_source(self, cases: Sequence[Case], predictor: Predictor, params: VocParams) -> SourceScores | None:
        """The same class maps restored as the source does and exactly, and another letterbox size in torch."""
        count = self.model.class_count(params)
        rows = ["exact", "as the source"]
        network = None
        if seconds_left(predictor) >= SECONDS_FOR_TORCH:
            network, _ = self.model.load_trained(params)
            rows.append(f"exact, {params.other_size}² instead of {params.size}²")

        def score(case: Case) -> list[np.ndarray]:
            boxed = _prepare(case, params.size)
            classes = _class_map(predictor.submit(boxed.image[None]).result())
            masks = [restore_exact(classes, boxed), restore_as_source(classes, boxed)]
            if network is not None:
                other = _prepare(case, params.other_size)
                masks.append(restore_exact(_class_map(run_network(network, other.image[None])), other))
            return [self._confusion(mask, case, count) for mask in masks]

        done = while_time_lasts(cases, score, predictor)
        return SourceScores(
            {row: _scores(np.sum(counts, axis=0)) for row, counts in zip(rows, zip(*done, strict=True), strict=True)},
            "The source crops the same margin from both sides, so an odd margin leaves a line of padding, and then"
            " scales class numbers bilinearly, which invents classes at borders (7 between 0 and 15).",
            f"{len(done)} of {len(cases)} images",
        )

    @staticmethod
    def _confusion(mask: np.ndarray, case: Case, count: int) -> np.ndarray:
        """Counts of a mask whose classes the source's interpolation may have raised beyond the last one."""
        return _confusion(np.minimum(mask, count - 1), case.require_truth(), count).counts


def _prepare(case: Case, size: int) -> Letterboxed:
    return letterbox(np.ascontiguousarray(case.image.transpose(1, 2, 0)), size)


def _class_map(output: np.ndarray) -> np.ndarray:
    """Classes (S, S) of one sample, from a class map (1, 1, S, S) or logits (1, classes, S, S)."""
    return output[0, 0] if np.issubdtype(output.dtype, np.integer) else output[0].argmax(axis=0)


def _confusion(prediction: np.ndarray, truth: np.ndarray, count: int) -> ConfusionMatrix:
    matrix = ConfusionMatrix(count, voc.IGNORE_INDEX)
    matrix.update(prediction, truth)
    return matrix


def _scores(counts: np.ndarray) -> Scores:
    matrix = ConfusionMatrix(counts.shape[0])
    matrix.counts += counts
    result = matrix.scores()
    return {
        "mIoU": _known(result.miou),
        "mIoU_present": _known(result.miou_present),
        "mAcc": _known(result.macc),
        "aAcc": _known(result.aacc),
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


_MODEL = FCNModel("fcn_voc2012")

# Source: Ascend/ModelZoo-PyTorch, ACL_PyTorch/contrib/cv/segmentation/FCN-8s; network of mmsegmentation.
RECIPE = Recipe(
    name="fcn_voc2012",
    title="FCN-R50-D8 / VOC 2012",
    params_model=VocParams,
    model=_MODEL,
    cases=VocCases(_MODEL),
    preparation=VocPreparation(),
    scoring=VocScoring(_MODEL),
)
