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
from helpers.errors import DataError
from helpers.graph.spec import GraphSpec
from helpers.inference import InferenceJob, WindowPlan
from helpers.params.model import RunParams
from helpers.recipes.base import Recipe
from helpers.scoring.dice import dice


class BlobParams(RunParams):
    """Adds the window."""

    window: list[int] = Field(default_factory=lambda: [16, 16, 16], min_length=3, max_length=3)


class BlobRecipe(Recipe):
    """Images `<case>.nii.gz` with labels `<case>_label.nii.gz`."""

    name = "blob"
    title = "BasicUNet / blobs"
    params_model = BlobParams
    class_names = ("background", "blob")
    score_names = ("Dice",)

    def network(self, variant: str | None = None):
        """The network at its own size."""
        return BasicUNet().eval()

    def network_for(self, state: Mapping):
        """As wide as the state dict's first convolution."""
        return BasicUNet(width=int(state["top.0.weight"].shape[0])).eval()

    def graph_spec(self, params: BlobParams) -> GraphSpec:
        """One channel in, two classes out."""
        return GraphSpec.of_run(params, "input", "output", (1, *params.window))

    def list_cases(self, root: Path, params: BlobParams) -> list[CaseFiles]:
        """Every image with a label."""
        labels = sorted(root.glob("*_label.nii.gz"))
        names = [path.name.removesuffix("_label.nii.gz") for path in labels]
        return [CaseFiles(n, {"image": root / f"{n}.nii.gz"}, label) for n, label in zip(names, labels, strict=True)]

    def read_case(self, case: CaseFiles, params: BlobParams) -> Case:
        """Reads one image and its label."""
        image = read_volume(case.files["image"])
        return Case(case.id, image.array.astype(np.float32), read_volume(case.truth).array[0], image.geometry)

    def prepare_job(self, case: Case, params: BlobParams) -> InferenceJob:
        """Windows over the image as it was trained on: intensities as they are."""
        plan = WindowPlan(tuple(params.window), 2, batch_size=params.batch_size)
        return InferenceJob(case.image, plan, lambda labels: labels)

    def example_input(self, case: Case, params: BlobParams) -> np.ndarray:
        """The window in the first corner."""
        return np.ascontiguousarray(case.image[(slice(None), *(slice(0, side) for side in params.window))])

    def write_mask(self, classes: np.ndarray, case: Case, path: Path) -> None:
        """NIfTI on the image's grid."""
        write_volume(path, Volume(classes[None], case.geometry))

    def read_mask(self, path: Path, case: Case) -> np.ndarray:
        """A written mask that lies on the image's grid."""
        mask = read_volume(path)
        if mask.geometry.differences_from(case.geometry):
            raise DataError(f"{path.name} lies on another grid than its image")
        return mask.array[0]

    def score(self, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
        """Dice of the blob."""
        return {"Dice": dice(prediction > 0, truth > 0)}

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
