"""The smallest recipe that goes through every stage: bright cubes in noise, a network of a few weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import nn

from helpers.data.case import Case, CaseFiles
from helpers.data.geometry import Geometry
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import DataError
from helpers.graph.spec import GraphSpec
from helpers.inference import InferenceJob, WindowPlan
from helpers.params.model import RunParams
from helpers.recipes.base import Infer, Recipe, SourceScores
from helpers.scoring.dice import dice

SIZE = 24
GEOMETRY = Geometry((SIZE,) * 3, (1.5, 1.0, 2.0), (-4.0, 7.0, 11.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))


class TinyNet(nn.Module):
    """Half resolution and back with a nearest 5-D resize, beside the image itself."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(1, 2, 3, stride=2, padding=1)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.head = nn.Conv3d(3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        coarse = self.up(torch.relu(self.down(x)))
        return self.head(torch.cat([x, coarse], dim=1))


def trained_state(threshold: float = 0.5) -> dict[str, torch.Tensor]:
    """Weights that find what is brighter than the threshold."""
    torch.manual_seed(0)
    network = TinyNet()
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.weight[1, 0], network.head.weight[1, 1:] = 4.0, 0.01
        network.head.bias[:] = torch.tensor([4.0 * threshold, 0.0])
    return network.state_dict()


def untrained_state() -> dict[str, torch.Tensor]:
    """Random weights."""
    torch.manual_seed(3)
    return TinyNet().state_dict()


def make_volume(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Image float32 and truth uint8, both (Z, Y, X)."""
    random = np.random.default_rng(seed)
    truth = np.zeros((SIZE,) * 3, np.uint8)
    z, y, x = random.integers(2, SIZE - 10, 3)
    truth[z : z + 8, y : y + 7, x : x + 6] = 1
    return (truth + random.normal(0, 0.1, truth.shape)).astype(np.float32), truth


class TinyParams(RunParams):
    """Adds the window."""

    window: list[int] = Field(default_factory=lambda: [16, 16, 16], min_length=3, max_length=3)
    step: float = Field(0.5, gt=0, le=1)


class TinyRecipe(Recipe):
    """Bright cubes."""

    name = "tiny"
    title = "Tiny"
    params_model = TinyParams
    class_names = ("background", "cube")
    score_names = ("cube",)
    rewrites = ("resize_5d_to_4d",)

    def network(self, variant: str | None = None) -> TinyNet:
        return TinyNet().eval()

    def network_for(self, state: Mapping) -> TinyNet:
        return TinyNet().eval()

    def graph_spec(self, params: TinyParams) -> GraphSpec:
        return GraphSpec("image", "class", (1, *params.window), params.opset, params.dynamic_batch, params.batch_size)

    def list_cases(self, root: Path, params: TinyParams) -> list[CaseFiles]:
        cases = []
        for path in sorted(root.glob("*_image.nii.gz")):
            name = path.name.removesuffix("_image.nii.gz")
            truth = root / f"{name}_truth.nii.gz"
            cases.append(CaseFiles(name, {"image": path}, truth if truth.is_file() else None))
        if not cases:
            raise DataError(f"no case below {root}")
        return cases

    def read_case(self, case: CaseFiles, params: TinyParams) -> Case:
        image = read_volume(case.files["image"])
        truth = read_volume(case.truth).array[0] if case.truth else None
        return Case(case.id, image.array.astype(np.float32), truth, image.geometry)

    def prepare_job(self, case: Case, params: TinyParams) -> InferenceJob:
        plan = WindowPlan(tuple(params.window), 2, tile_step_size=params.step, batch_size=params.batch_size)
        return InferenceJob(case.image, plan, lambda labels: labels)

    def example_input(self, case: Case, params: TinyParams) -> np.ndarray:
        box = tuple(slice(0, side) for side in params.window)
        return np.ascontiguousarray(case.image[(slice(None), *box)])

    def write_mask(self, classes: np.ndarray, case: Case, path: Path) -> None:
        write_volume(path, Volume(classes[None], case.geometry))

    def read_mask(self, path: Path, case: Case) -> np.ndarray:
        mask = read_volume(path)
        if differences := mask.geometry.differences_from(case.geometry):
            raise DataError(f"{path.name} lies on another grid", received="; ".join(differences))
        return mask.array[0]

    def score(self, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
        return {"cube": dice(prediction > 0, truth > 0)}

    def write_demo_cases(self, root: Path, seeds: Sequence[int]) -> list[str]:
        for seed in seeds:
            for role, array in zip(("image", "truth"), make_volume(seed), strict=True):
                if not (path := root / f"case_{seed}_{role}.nii.gz").exists():
                    write_volume(path, Volume(array[None], GEOMETRY))
        return [f"case_{seed}" for seed in seeds]

    def score_as_source(self, cases, infer: Infer, untrained: Infer, params: TinyParams) -> SourceScores:
        sample = self.example_input(cases[0], params)[None]
        rows = {name: {"sum": float(call(sample).sum())} for name, call in (("ours", infer), ("fresh", untrained))}
        return SourceScores(rows, "The sum of all scores.")
