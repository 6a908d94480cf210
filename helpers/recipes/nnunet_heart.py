"""nnU-Net on MSD Task02: a late-enhancement MRI of the heart to the left atrium."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from helpers.data.case import Case
from helpers.data.nnunet.preprocess import restore_labels
from helpers.demo.heart import write_demo_cases
from helpers.errors import ParameterError
from helpers.inference import InferenceJob, Predictor, as_predictor, infer_job
from helpers.inference.scores import ACTIVATIONS
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
from helpers.scoring.dice import dice

if TYPE_CHECKING:
    import torch

# Axes of a batch of slices (N, C, Y, X) that each mirrored pass is flipped on, and how the source flips it back.
_MIRRORS = ((), (3,), (2,), (3, 2))
_PYTHON_UNDO = ((), (3,), (3,), (3, 2))
_CPP_WEIGHTS = (0.0078125, 0.015625, 0.0625, 0.25)
_ROWS = ("correct passes", "the source's Python", "the source's C++", "empty mask")


class HeartParams(NnunetParams):
    """Adds the two forms of the heart's model, and the source's own passes."""

    variant: Literal["2d", "3d"] | None = None
    """Form of the model; null: its own. The demo weights are 2-D."""
    passes: Literal["right", "source_python", "source_cpp"] = "right"
    """How the four mirrored passes of a slice become a mask; the source's two programs do it incorrectly."""


class HeartModel(NnunetModel[HeartParams]):
    """A 2-D or 3-D model of nnU-Net v1 or v2."""

    def build(self, variant: str | None = None) -> torch.nn.Module:
        """The official 2-D network, 320 x 256; variant "3d" is the 3-D one, 80 x 192 x 160."""
        from helpers.networks.nnunet import GenericUNet

        return single_output(GenericUNet.heart_3d_fullres() if variant == "3d" else GenericUNet.heart_2d())

    def configuration(self, params: HeartParams) -> str:
        """nnU-Net's name of the variant."""
        return "3d_fullres" if params.variant == "3d" else "2d"

    def check_params(self, params: HeartParams) -> None:
        """Refuses a variant other than the model's."""
        form = self.form(params)
        if params.variant not in (None, form):
            raise ParameterError(
                "variant does not match the model",
                received=params.variant,
                expected=form,
                remedy=f"Omit variant, or set checkpoint to a model folder of the {params.variant} configuration.",
            )

    def form(self, params: HeartParams) -> str:
        """ "2d" or "3d", by the plan's patch."""
        return "2d" if len(self.plan(params).patch_size) == 2 else "3d"


@dataclass(frozen=True)
class HeartPreparation(NnunetPreparation[HeartParams]):
    """As specified by the plan, or with the mirrored passes of one of the source's programs."""

    model: HeartModel

    def check_params(self, params: HeartParams) -> None:
        """Refuses passes that the model cannot run."""
        form = self.model.form(params)
        if params.passes != "right" and (form == "3d" or params.save_softmax):
            raise ParameterError(
                "the source's passes need 2-D slices and save no probabilities",
                received=f"passes {params.passes}, a model of {form}, save_softmax {params.save_softmax}",
            )

    def prepare_job(self, case: Case, params: HeartParams) -> InferenceJob:
        """As the family's; the source's passes are not a job that another machine can do."""
        if params.passes != "right":
            raise ParameterError(
                "the source's passes need the device in the same process", received=f"passes {params.passes}"
            )
        return super().prepare_job(case, params)

    def segment(self, case: Case, predictor: Predictor, params: HeartParams) -> np.ndarray:
        """Class indices on the case's own grid, by the passes that the run asks for."""
        if params.passes == "right":
            return super().segment(case, predictor, params)
        return self.segment_as_source(params.passes, case, predictor, params)

    def segment_as_source(self, passes: str, case: Case, predictor: Predictor, params: HeartParams) -> np.ndarray:
        """Class indices from windows of equal weight and passes combined as in one of the source's programs."""
        model = self.model.folder(params)
        averaged = len(model.checkpoints) > 1 and model.plan.activation == "softmax"
        activate = ACTIVATIONS[None if averaged else "softmax"]
        prepared = self.prepare(case, params)
        windows = replace(self.window_plan(prepared, params), gaussian=False, mirror_axes=(), activation=None)
        combine = {"source_python": _as_python, "source_cpp": _as_cpp}[passes]
        passes_of = as_predictor(lambda batch: combine(_passes(predictor, batch, activate)))
        answer = infer_job(prepared.image, passes_of, windows)
        return restore_labels(answer, prepared)


@dataclass(frozen=True)
class HeartScoring(NnunetScoring[HeartParams]):
    """Adds the scores that the source's two programs reach."""

    model: HeartModel
    preparation: HeartPreparation

    def score_as_source(
        self, cases: Sequence[Case], predictor: Predictor, params: HeartParams
    ) -> SourceScores | None:
        """The correct mirrors and window weights next to those of the source's Python and C++ programs."""
        if self.model.form(params) != "2d":
            return None
        labels = self.labels(params).foreground
        correct = params.model_copy(update={"passes": "right"})

        def score(index: int) -> list[Scores]:
            case = cases[index]
            made = case.prediction if params.passes == "right" else None
            masks = [self.preparation.segment(case, predictor, correct) if made is None else made]
            for passes in ("source_python", "source_cpp"):
                masks.append(self.preparation.segment_as_source(passes, case, predictor, params))
            truth = case.require_truth()
            return [_figures(mask, truth, labels) for mask in (*masks, np.zeros_like(truth))]

        chosen = range(min(len(cases), params.source_cases))
        done = while_time_lasts(chosen, score, predictor)
        return SourceScores(
            mean_rows(dict(zip(_ROWS, zip(*done, strict=True), strict=True))),
            "The source's Python flips the second mirrored pass back on the wrong axis; its C++ flips none back and"
            " gives the last, doubly mirrored pass a weight of three quarters, which explains the published Dice of"
            " 0.06. Accuracy, which the source prints first, counts the background, so that even an empty mask"
            " has an accuracy of nearly 1.",
            f"{len(done)} of {len(chosen)} cases",
        )


def _figures(prediction: np.ndarray, truth: np.ndarray, labels: Mapping[str, int]) -> Scores:
    """Dice and accuracy of each label; a single one is not named."""
    figures: Scores = {}
    for name, label in labels.items():
        ours, theirs, of = prediction == label, truth == label, f" {name}" if len(labels) > 1 else ""
        figures |= {f"Dice{of}": dice(ours, theirs), f"Accuracy{of}": float(np.mean(ours == theirs))}
    return figures


def _passes(
    predictor: Predictor, batch: np.ndarray, activate: Callable[[np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """Probabilities of the four mirrored passes, not flipped back."""
    return [activate(predictor.submit(np.ascontiguousarray(np.flip(batch, axes))).result()) for axes in _MIRRORS]


def _as_python(passes: Sequence[np.ndarray]) -> np.ndarray:
    return np.mean([np.flip(scores, axes) for scores, axes in zip(passes, _PYTHON_UNDO, strict=True)], axis=0)


def _as_cpp(passes: Sequence[np.ndarray]) -> np.ndarray:
    weighted = [weight * scores for weight, scores in zip(_CPP_WEIGHTS, passes, strict=True)]
    return (np.sum(weighted, axis=0) / sum(_CPP_WEIGHTS)).astype(np.float32)


_TITLE, _TASK, _CLASSES = "nnU-Net / MSD Heart", "Task02_Heart", ("background", "left atrium")
_MODEL = HeartModel("nnunet_heart", NnunetDemo("2d", _CLASSES, mirror_axes=(0, 1)))
_PREPARATION = HeartPreparation(_MODEL)

# Source: Cambricon/magicmind_cloud, buildin/cv/segmentation/nnUNet_pytorch; network of nnU-Net v1.
RECIPE = Recipe(
    name="nnunet_heart",
    title=_TITLE,
    params_model=HeartParams,
    model=_MODEL,
    cases=NnunetCases(_MODEL, _TASK, write_demo_cases),
    preparation=_PREPARATION,
    scoring=HeartScoring(
        _MODEL,
        _PREPARATION,
        title=_TITLE,
        task=_TASK,
        class_names=_CLASSES,
        renamed_scores={"left atrium": "atrium"},
    ),
    targets_to_lint=("ascend310", "ascend310p3", "mlu370"),
)
