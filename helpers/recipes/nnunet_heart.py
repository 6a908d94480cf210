"""nnU-Net on MSD Task02: a late-enhancement MRI of the heart to the left atrium."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers.data.case import Case
from helpers.data.nnunet.preprocess import prepare_case, restore_labels
from helpers.errors import ParameterError
from helpers.inference import InferenceJob, as_predictor, infer_job
from helpers.inference.scores import ACTIVATIONS
from helpers.recipes.base import Infer, SourceScores
from helpers.recipes.nnunet_family import HeartParams, NnunetRecipe
from helpers.scoring.dice import dice, mean_of_known

# Axes of a batch of slices (N, C, Y, X) that each mirrored pass is flipped on, and how the source turns it back.
_MIRRORS = ((), (3,), (2,), (3, 2))
_PYTHON_UNDO = ((), (3,), (3,), (3, 2))
_CPP_WEIGHTS = (0.0078125, 0.015625, 0.0625, 0.25)
_ROWS = ("right", "the source's Python", "the source's C++", "an empty answer")


class NnunetHeart(NnunetRecipe):
    """Source: Cambricon/magicmind_cloud, buildin/cv/segmentation/nnUNet_pytorch; network of nnU-Net v1."""

    name = "nnunet_heart"
    title = "nnU-Net / MSD Heart"
    task = "Task02_Heart"
    configuration = "2d"
    params_model = HeartParams
    demo_mirror_axes = (0, 1)
    class_names = ("background", "left atrium")
    score_names = ("atrium",)
    targets_to_lint = ("ascend310", "ascend310p3", "mlu370")

    def network(self, variant: str | None = None):
        """The official 2-D network, 320 x 256; variant "3d" is the 3-D one, 80 x 192 x 160."""
        from helpers.networks.nnunet import GenericUNet

        network = GenericUNet.heart_3d_fullres() if variant == "3d" else GenericUNet.heart_2d()
        network.do_ds = False
        return network.eval()

    def network_of(self, state: Mapping):
        """The U-Net that fits a state dict."""
        from helpers.networks.nnunet import GenericUNet

        return GenericUNet.from_state_dict(state)

    def score(self, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
        """Dice of the atrium."""
        return {"atrium": dice(prediction == 1, truth == 1)}

    def write_demo_cases(self, root: Path, seeds: Sequence[int]) -> list[str]:
        """Generated chests with known atria."""
        from helpers.demo.heart import write_demo_cases

        return write_demo_cases(root, seeds)

    def prepare_params(self, **given: object) -> HeartParams:
        """Resolved parameters; a variant that the model is not, or passes that it cannot make, are refused here."""
        params = super().prepare_params(**given)
        form = "2d" if len(self.plan(params).patch_size) == 2 else "3d"
        if params.variant not in (None, form):
            raise ParameterError(
                "the model is of the other variant",
                received=f"variant {params.variant}, a model of {form}",
                remedy="The demo weights are 2-D; set checkpoint to a model folder of the 3-D configuration.",
            )
        if params.passes != "right" and (form == "3d" or params.save_softmax):
            raise ParameterError(
                "the source's passes are of 2-D slices and keep no softmax",
                received=f"passes {params.passes}, a model of {form}, save_softmax {params.save_softmax}",
            )
        return params

    def wanted_configuration(self, params: HeartParams) -> str:
        """nnU-Net's name of the variant."""
        return "3d_fullres" if params.variant == "3d" else "2d"

    def prepare_job(self, case: Case, params: HeartParams) -> InferenceJob:
        """As the family's; the source's passes need the network beside them, so they are no job."""
        if params.passes != "right":
            raise ParameterError("the source's passes run beside the device only", received=f"passes {params.passes}")
        return super().prepare_job(case, params)

    def segment(self, case: Case, infer: Infer, params: HeartParams) -> np.ndarray:
        """Class indices on the case's own grid, by the passes that the run asks for."""
        if params.passes == "right":
            return super().segment(case, infer, params)
        return self._segment_as(params.passes, case, infer, params)

    def score_as_source(
        self, cases: Sequence[Case], infer: Infer, untrained: Infer, params: HeartParams
    ) -> SourceScores | None:
        """The right mirrors and window weights beside those of the source's Python and C++ programs."""
        if not len(cases) or len(self.plan(params).patch_size) != 2:
            return None
        rows: dict[str, list[dict[str, float | None]]] = {row: [] for row in _ROWS}
        right = params.model_copy(update={"passes": "right"})
        for case in (cases[index] for index in range(min(len(cases), params.source_cases))):
            rows["right"].append(_figures(self.segment(case, infer, right), case.truth))
            for row, passes in (("the source's Python", "source_python"), ("the source's C++", "source_cpp")):
                rows[row].append(_figures(self._segment_as(passes, case, infer, params), case.truth))
            rows["an empty answer"].append(_figures(np.zeros_like(case.truth), case.truth))
        means = {
            row: {name: mean_of_known([case[name] for case in found]) for name in found[0]}
            for row, found in rows.items()
        }
        return SourceScores(
            means,
            "The source's Python turns the second mirror back on the wrong axis; its C++ turns none back and weighs"
            " the last, doubly mirrored pass with three quarters, which is how a Dice of 0.06 came to be published."
            " Accuracy, which the source prints first, counts the background: an empty answer has nearly all of it.",
        )

    def _segment_as(self, passes: str, case: Case, infer: Infer, params: HeartParams) -> np.ndarray:
        """Class indices from windows of equal weight and passes put together as one of the source's programs does."""
        model = self.model(params)
        averaged = len(model.checkpoints) > 1 and model.plan.activation == "softmax"
        activate = ACTIVATIONS[None if averaged else "softmax"]
        prepared = prepare_case(case.image, case.geometry.spacing_mm_zyx, self.plan(params))
        windows = self.window_plan(prepared, params, gaussian=False, activation=None)
        put_together = {"source_python": _as_python, "source_cpp": _as_cpp}[passes]
        passes_of = as_predictor(lambda batch: put_together(_passes(infer, batch, activate)))
        answer = infer_job(prepared.image, passes_of, windows)
        return restore_labels(answer, prepared)


def _figures(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    return {"Dice": dice(prediction == 1, truth == 1), "Accuracy": float(np.mean((prediction == 1) == (truth == 1)))}


def _passes(infer: Infer, batch: np.ndarray, activate: Infer) -> list[np.ndarray]:
    """Probabilities of the four mirrored passes, not turned back."""
    return [activate(infer(np.ascontiguousarray(np.flip(batch, axes)))) for axes in _MIRRORS]


def _as_python(passes: Sequence[np.ndarray]) -> np.ndarray:
    return np.mean([np.flip(scores, axes) for scores, axes in zip(passes, _PYTHON_UNDO, strict=True)], axis=0)


def _as_cpp(passes: Sequence[np.ndarray]) -> np.ndarray:
    weighted = [weight * scores for weight, scores in zip(_CPP_WEIGHTS, passes, strict=True)]
    return (np.sum(weighted, axis=0) / sum(_CPP_WEIGHTS)).astype(np.float32)
