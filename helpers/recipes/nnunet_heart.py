"""nnU-Net on MSD Task02: a late-enhancement MRI of the heart to the left atrium."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers.data.case import Case
from helpers.data.nnunet.preprocess import Prepared, prepare_case, restore_labels
from helpers.inference import infer_job
from helpers.inference.activation import softmax
from helpers.recipes.base import Infer, SourceScores
from helpers.recipes.nnunet_family import NnunetParams, NnunetRecipe
from helpers.scoring.dice import dice, mean_of_known

# Axes of a batch of slices (N, C, Y, X) that each mirrored pass is flipped on, and how the source turns it back.
_MIRRORS = ((), (3,), (2,), (3, 2))
_PYTHON_UNDO = ((), (3,), (3,), (3, 2))
_CPP_WEIGHTS = (0.0078125, 0.015625, 0.0625, 0.25)


class NnunetHeart(NnunetRecipe):
    """Source: Cambricon/magicmind_cloud, buildin/cv/segmentation/nnUNet_pytorch; network of nnU-Net v1."""

    name = "nnunet_heart"
    title = "nnU-Net / MSD Heart"
    task = "Task02_Heart"
    configuration = "2d"
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
        from helpers.data.demo.heart import write_demo_cases

        return write_demo_cases(root, seeds)

    def score_as_source(
        self, cases: Sequence[Case], infer: Infer, untrained: Infer, params: NnunetParams
    ) -> SourceScores | None:
        """The right mirrors and window weights beside those of the source's Python and C++ programs."""
        plan = self.plan(params)
        if not len(cases) or len(plan.patch_size) != 2:
            return None
        rows: dict[str, list[float | None]] = {"right": [], "the source's Python": [], "the source's C++": []}
        for case in (cases[index] for index in range(min(len(cases), params.source_cases))):
            prepared = prepare_case(case.image, case.geometry.spacing_mm_zyx, plan)
            answers = (
                self.segment(case, infer, params),
                self._segment_plainly(prepared, lambda batch: _as_python(infer, batch), params),
                self._segment_plainly(prepared, lambda batch: _as_cpp(infer, batch), params),
            )
            for row, answer in zip(rows.values(), answers, strict=True):
                row.append(self.score(answer, case.truth)["atrium"])
        return SourceScores(
            {name: {"Dice": mean_of_known(values)} for name, values in rows.items()},
            "The source's Python turns the second mirror back on the wrong axis; its C++ turns none back and weighs"
            " the last, doubly mirrored pass with three quarters, which is how a Dice of 0.06 came to be published.",
        )

    def _segment_plainly(self, prepared: Prepared, infer: Infer, params: NnunetParams) -> np.ndarray:
        """Class indices from windows of equal weight and scores as they come, as the source's programs do it."""
        windows = self.window_plan(prepared, self.plan(params), params, gaussian=False, activation=None)
        return restore_labels(infer_job(prepared.image, infer, windows), prepared)


def _passes(infer: Infer, batch: np.ndarray) -> list[np.ndarray]:
    """Softmax of the four mirrored passes, not turned back."""
    return [softmax(infer(np.ascontiguousarray(np.flip(batch, axes)))) for axes in _MIRRORS]


def _as_python(infer: Infer, batch: np.ndarray) -> np.ndarray:
    turned = [np.flip(scores, axes) for scores, axes in zip(_passes(infer, batch), _PYTHON_UNDO, strict=True)]
    return np.mean(turned, axis=0)


def _as_cpp(infer: Infer, batch: np.ndarray) -> np.ndarray:
    weighted = [weight * scores for weight, scores in zip(_CPP_WEIGHTS, _passes(infer, batch), strict=True)]
    return (np.sum(weighted, axis=0) / sum(_CPP_WEIGHTS)).astype(np.float32)
