"""3D U-Net on BraTS: four MRI contrasts to necrotic core, oedema and enhancing tumour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from helpers.data import brats
from helpers.data.brats_years import CONVENTIONS, FIRST_YEAR, LAST_YEAR
from helpers.data.case import Case, CaseFiles
from helpers.data.case_volumes import series_by_role, with_reading
from helpers.data.volume import write_volume
from helpers.graph.spec import GraphSpec
from helpers.inference import InferenceJob, Predictor, WindowPlan
from helpers.inference.time_limit import seconds_left, while_time_lasts
from helpers.params.model import RunParams
from helpers.recipes.base import (
    LabelSet,
    PictureSettings,
    Preparation,
    Recipe,
    Scores,
    Scoring,
    SourceScores,
)
from helpers.recipes.parts import SECONDS_FOR_TORCH, TorchModel, VolumeCases, read_mask_on_grid, run_network
from helpers.scoring.dice import dice_of_regions, mean_of_known, soft_dice_of_source

if TYPE_CHECKING:
    import torch


class BratsParams(RunParams):
    """The recipe's own parameters."""

    window: list[int] = Field(default_factory=lambda: [64, 64, 64], min_length=3, max_length=3)
    """Window size in voxels, Z, Y, X."""
    tile_step_size: float = Field(0.5, gt=0, le=1)
    """Distance between windows as a fraction of the window."""
    gaussian: bool = True
    """Whether the centre of a window weighs more than its border."""
    mirror_axes: list[Literal[0, 1, 2]] = Field(default_factory=list)
    """Axes of test-time mirroring; empty: none."""
    reuse_constant_windows: bool = False
    """Whether windows of one value, such as air, are run only once; changes no voxel."""
    crop_to_brain: bool = True
    """Whether the air around the brain is left out."""
    label_year: int | None = Field(None, ge=FIRST_YEAR, le=LAST_YEAR)
    """Year of BraTS whose labels the files have; null: by the names of files and folders."""
    source_crops: int = Field(128, ge=1)
    """Crops for the source's own score, which draws 128."""
    source_seed: int = 1777777
    """Seed of those crops."""


class UNet3DModel(TorchModel[BratsParams]):
    """The network of MedicalZooPytorch, with the tensor names of Ascend/ModelZoo-PyTorch."""

    def build(self, variant: str | None = None) -> torch.nn.Module:
        """The official network: base_n_filter 8."""
        return self._of_width(8)

    def build_for_state(self, state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        """The network as wide as a state dict's first convolution."""
        first = state.get("conv3d_c1_1.weight")
        return self._of_width(8 if first is None or first.ndim != 5 else int(first.shape[0]))

    def graph_spec(self, params: BratsParams) -> GraphSpec:
        """The source's names: `image` in, `class` out."""
        return GraphSpec.of_run(params, "image", "class", (4, *params.window))

    def _of_width(self, width: int) -> torch.nn.Module:
        from helpers.networks.unet3d import UNet3D

        return UNet3D(in_channels=4, n_classes=len(brats.CLASS_NAMES), base_n_filter=width).eval()


class BratsCases(VolumeCases[BratsParams]):
    """Cases in any of the challenge's layouts; masks hold the labels of the case's own year."""

    def list_cases(self, root: Path, params: BratsParams) -> list[CaseFiles]:
        """The cases below a root, or those that the run names."""
        in_one_place = series_by_role(params.series, brats.MODALITIES)
        find = brats.list_dicom_cases if in_one_place else brats.list_brats_cases
        return with_reading(find(root, params.cases, params.label_year), params.series, params.allow_shear)

    def skipped_files(self, root: Path, params: BratsParams) -> list[str]:
        """Broken links, folders met twice, and volumes of no known role."""
        return brats.skipped_files(root)

    def read_case(self, files: CaseFiles, params: BratsParams) -> Case:
        """Reads and checks one case."""
        return brats.read_brats_case(files, params.label_year)

    def write_mask(self, classes: np.ndarray, case: Case, path: Path) -> None:
        """NIfTI with the labels of the case's own year."""
        write_volume(path, brats.volume_of_mask(classes, case))

    def read_mask(self, path: Path, case: Case) -> np.ndarray:
        """Class indices of a mask on the case's grid."""
        return brats.mask_to_classes(path, read_mask_on_grid(path, case), str(case.notes["convention"]))

    def mask_values(self, case: Case, labels: LabelSet) -> tuple[int, ...]:
        """The labels of the case's own year."""
        return CONVENTIONS[str(case.notes["convention"])].written

    def write_demo_cases(self, root: Path, seeds: Sequence[int]) -> list[str]:
        """MNI anatomy with planted tumours."""
        from helpers.demo.brats import write_demo_cases

        return write_demo_cases(root, seeds)

    def picture_settings(self, params: BratsParams) -> PictureSettings:
        """FLAIR, which shows oedema best."""
        return PictureSettings(channel=3)


class BratsPreparation(Preparation[BratsParams]):
    """Windows over the brain; the air around it is background without running the network."""

    def prepare_job(self, case: Case, params: BratsParams) -> InferenceJob:
        """Windows over the brain's bounding box."""
        prepared = brats.prepare_brats(case.image)
        box = brats.brain_box(case.image) if params.crop_to_brain else (slice(None),) * 3
        plan = WindowPlan(
            tuple(params.window),
            len(brats.CLASS_NAMES),
            tile_step_size=params.tile_step_size,
            gaussian=params.gaussian,
            mirror_axes=tuple(params.mirror_axes),
            batch_size=params.batch_size,
            reuse_constant=params.reuse_constant_windows,
        )

        def restore(labels: np.ndarray) -> np.ndarray:
            classes = np.zeros(case.image.shape[1:], np.uint8)
            classes[box] = labels
            return classes

        return InferenceJob(prepared[(slice(None), *box)], plan, restore)

    def example_input(self, case: Case, params: BratsParams) -> np.ndarray:
        """The window around the tumour's centre, or around the brain's if there is no label."""
        marked = case.truth if case.truth is not None and case.truth.any() else (case.image != 0).any(axis=0)
        centre = [int(np.median(indices)) for indices in np.nonzero(marked)]
        starts = [
            max(0, min(middle - side // 2, size - side))
            for middle, side, size in zip(centre, params.window, marked.shape, strict=True)
        ]
        return _crop(brats.prepare_brats(case.image), starts, params.window)


@dataclass(frozen=True)
class BratsScoring(Scoring[BratsParams]):
    """Dice of the regions WT, TC and ET on hard labels, as the challenge defines them."""

    model: UNet3DModel

    def labels(self, params: BratsParams) -> LabelSet:
        """The classes, with the label values of 2018."""
        return LabelSet(brats.CLASS_NAMES, (0, 1, 2, 4))

    def score_names(self, params: BratsParams) -> tuple[str, ...]:
        """The regions."""
        return tuple(brats.REGIONS)

    def score(self, prediction: np.ndarray, truth: np.ndarray, params: BratsParams) -> Scores:
        """Dice of each region."""
        return dice_of_regions(prediction, truth, brats.REGIONS)

    def structures(self, params: BratsParams) -> Mapping[str, Sequence[int]]:
        """The regions."""
        return brats.REGIONS

    def score_as_source(
        self, cases: Sequence[Case], predictor: Predictor, params: BratsParams
    ) -> SourceScores | None:
        """The source's soft score on seeded crops, for our network, all-zero logits and an untrained network."""
        tumours = brats.PackedMasks()
        for case in cases:
            tumours.append(case.require_truth() > 0)
        if not any(tumour.any() for tumour in tumours):
            return None
        untrained = self.model.load_untrained(params) if seconds_left(predictor) >= SECONDS_FOR_TORCH else None
        crops = brats.draw_crops(tumours, params.source_crops, min(params.window), params.source_seed)
        crops.sort(key=lambda crop: crop[0])  # by case, so that each is read once
        prepared = _PreparedCases(cases)

        def score(crop: tuple[int, tuple[int, int, int]]) -> tuple[dict[str, float], Scores]:
            index, start = crop
            image, labels = prepared[index]
            sample, truth = _crop(image, start, params.window)[None], _crop(labels, start, params.window)
            logits = predictor.submit(sample).result()
            soft = {
                "our network": soft_dice_of_source(logits, truth),
                "all-zero logits": soft_dice_of_source(np.zeros_like(logits), truth),
            }
            if untrained is not None:
                soft["untrained network"] = soft_dice_of_source(run_network(untrained, sample), truth)
            return soft, self.score(logits.argmax(axis=1), truth, params)

        done = while_time_lasts(crops, score, predictor)
        return _source_table(done, f"{len(done)} of {len(crops)} crops")


class _PreparedCases:
    """The image (4, Z, Y, X) and truth (1, Z, Y, X) of the cases; the last one that was prepared is kept."""

    def __init__(self, cases: Sequence[Case]):
        self._cases = cases
        self._last: tuple[int, tuple[np.ndarray, np.ndarray]] | None = None

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if self._last is None or self._last[0] != index:
            case = self._cases[index]
            self._last = index, (brats.prepare_brats(case.image), case.require_truth()[None])
        return self._last[1]


def _crop(array: np.ndarray, start: Sequence[int], window: Sequence[int]) -> np.ndarray:
    """A window (C, *window) of an array (C, Z, Y, X), padded with zeros beyond the volume."""
    box = tuple(slice(first, first + side) for first, side in zip(start, window, strict=True))
    piece = array[(slice(None), *box)]
    missing = [(0, side - size) for side, size in zip(window, piece.shape[1:], strict=True)]
    return np.ascontiguousarray(np.pad(piece, [(0, 0), *missing]))


def _source_table(done: Sequence[tuple[dict[str, float], Scores]], share: str) -> SourceScores:
    rows: dict[str, dict[str, float | None]] = {
        row: {"source's soft DSC": float(np.mean([soft[row] for soft, _ in done]))} for row in done[0][0]
    }
    hard = [scores for _, scores in done]
    for region in brats.REGIONS:
        rows["our network"][f"Dice {region}"] = mean_of_known([values[region] for values in hard])
    return SourceScores(
        rows,
        "The source takes a sigmoid of every channel, background included, without a threshold, so that"
        " all-zero logits score about what the source publishes (0.2543 and 0.2560). Dice on hard labels shows the"
        " difference.",
        share,
    )


_MODEL = UNet3DModel("unet3d_brats")

# Source: Ascend/ModelZoo-PyTorch, ACL_PyTorch/contrib/cv/detection/3DUnet; network of MedicalZooPytorch.
RECIPE = Recipe(
    name="unet3d_brats",
    title="3D U-Net / BraTS 2018",
    params_model=BratsParams,
    model=_MODEL,
    cases=BratsCases(),
    preparation=BratsPreparation(),
    scoring=BratsScoring(_MODEL),
    rewrites=("resize_5d_to_4d",),
)
