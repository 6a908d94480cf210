"""A sixth model in one recipe file: BasicUNet finds bright blobs in noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from basic_unet import BasicUNet
from pydantic import Field

from helpers.data.case import Case, CaseFiles
from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.graph.spec import GraphSpec
from helpers.inference import InferenceJob, WindowPlan
from helpers.params.model import RunParams
from helpers.recipes.base import LabelSet, Preparation, Recipe, Scores, Scoring
from helpers.recipes.parts import TorchModel, VolumeCases
from helpers.scoring.dice import dice


class BlobParams(RunParams):
    """Adds the window."""

    window: list[int] = Field(default_factory=lambda: [16, 16, 16], min_length=3, max_length=3)


class BlobModel(TorchModel[BlobParams]):
    """MONAI's BasicUNet, smaller."""

    def build(self, variant: str | None = None):
        """The network at its own size."""
        return BasicUNet().eval()

    def build_for_state(self, state: Mapping):
        """As wide as the state dict's first convolution."""
        return BasicUNet(width=int(state["top.0.weight"].shape[0])).eval()

    def graph_spec(self, params: BlobParams) -> GraphSpec:
        """One channel in, two classes out."""
        return GraphSpec.of_run(params, "input", "output", (1, *params.window))


class BlobCases(VolumeCases[BlobParams]):
    """Images `<case>.nii.gz` with labels `<case>_label.nii.gz`."""

    def list_cases(self, root: Path, params: BlobParams) -> list[CaseFiles]:
        """Every image with a label."""
        labels = sorted(root.glob("*_label.nii.gz"))
        names = [path.name.removesuffix("_label.nii.gz") for path in labels]
        return [CaseFiles(n, {"image": root / f"{n}.nii.gz"}, label) for n, label in zip(names, labels, strict=True)]

    def read_case(self, files: CaseFiles, params: BlobParams) -> Case:
        """Reads one image and its label."""
        image, label = read_volume(files.files["image"]), read_volume(files.truth)
        return Case(files.id, image.array.astype(np.float32), label.array[0], image.geometry)

    def write_demo_cases(self, root: Path, seeds: Sequence[int]) -> list[str]:
        """A ball in noise."""
        grid = Geometry.identity((24, 28, 20), (1.5, 1.0, 1.0))
        for seed in seeds:
            random = np.random.default_rng(seed)
            centre = random.integers(8, 12, 3)
            distance = sum((axis - c) ** 2 for axis, c in zip(np.indices(grid.size_zyx), centre, strict=True))
            truth = (distance < 36).astype(np.uint8)
            image = (truth + random.normal(0, 0.5, truth.shape)).astype(np.float32)
            write_volume(root / f"blob_{seed}.nii.gz", Volume(image[None], grid))
            write_volume(root / f"blob_{seed}_label.nii.gz", Volume(truth[None], grid))
        return [f"blob_{seed}" for seed in seeds]


class BlobPreparation(Preparation[BlobParams]):
    """Windows over the image as it was trained on: intensities as they are."""

    def prepare_job(self, case: Case, params: BlobParams) -> InferenceJob:
        """Windows over the image."""
        plan = WindowPlan(tuple(params.window), 2, batch_size=params.batch_size)
        return InferenceJob(case.image, plan, lambda labels: labels)

    def example_input(self, case: Case, params: BlobParams) -> np.ndarray:
        """The window in the first corner."""
        return np.ascontiguousarray(case.image[(slice(None), *(slice(0, side) for side in params.window))])


class BlobScoring(Scoring[BlobParams]):
    """Dice of the blob."""

    def labels(self, params: BlobParams) -> LabelSet:
        """Background and blob."""
        return LabelSet(("background", "blob"))

    def score_names(self, params: BlobParams) -> tuple[str, ...]:
        """Dice alone."""
        return ("Dice",)

    def score(self, prediction: np.ndarray, truth: np.ndarray, params: BlobParams) -> Scores:
        """Dice of the blob."""
        return {"Dice": dice(prediction > 0, truth > 0)}


RECIPE = Recipe(
    name="blob",
    title="BasicUNet / blobs",
    params_model=BlobParams,
    model=BlobModel("blob"),
    cases=BlobCases(),
    preparation=BlobPreparation(),
    scoring=BlobScoring(),
)
