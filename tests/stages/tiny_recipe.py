"""The smallest recipe that goes through every stage: bright cubes in noise, a network of a few weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from helpers.inference import InferenceJob, Predictor, WindowPlan
from helpers.params.model import RunParams
from helpers.recipes.base import LabelSet, Preparation, Recipe, Scores, Scoring, SourceScores
from helpers.recipes.parts import TorchModel, VolumeCases, run_network
from helpers.scoring.dice import dice

SIZE = 24
GEOMETRY = Geometry((SIZE,) * 3, (1.5, 1.0, 2.0), (-4.0, 7.0, 11.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))


class TinyNet(nn.Module):
    """Half resolution and back with a nearest 5-D resize, concatenated with the image itself."""

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
    tile_step_size: float = Field(0.5, gt=0, le=1)


class TinyModel(TorchModel[TinyParams]):
    """Weights come from a file only."""

    def build(self, variant: str | None = None) -> TinyNet:
        return TinyNet().eval()

    def build_for_state(self, state: Mapping) -> TinyNet:
        return TinyNet().eval()

    def graph_spec(self, params: TinyParams) -> GraphSpec:
        return GraphSpec("image", "class", (1, *params.window), params.opset, params.dynamic_batch, params.batch_size)


class TinyCases(VolumeCases[TinyParams]):
    """Images `<case>_image.nii.gz` with truths `<case>_truth.nii.gz`."""

    def list_cases(self, root: Path, params: TinyParams) -> list[CaseFiles]:
        cases = []
        for path in sorted(root.glob("*_image.nii.gz")):
            name = path.name.removesuffix("_image.nii.gz")
            truth = root / f"{name}_truth.nii.gz"
            cases.append(CaseFiles(name, {"image": path}, truth if truth.is_file() else None))
        if not cases:
            raise DataError(f"no case below {root}")
        return cases

    def read_case(self, files: CaseFiles, params: TinyParams) -> Case:
        image = read_volume(files.files["image"])
        truth = read_volume(files.truth).array[0] if files.truth else None
        return Case(files.id, image.array.astype(np.float32), truth, image.geometry)

    def write_demo_cases(self, root: Path, seeds: Sequence[int]) -> list[str]:
        for seed in seeds:
            for role, array in zip(("image", "truth"), make_volume(seed), strict=True):
                if not (path := root / f"case_{seed}_{role}.nii.gz").exists():
                    write_volume(path, Volume(array[None], GEOMETRY))
        return [f"case_{seed}" for seed in seeds]


class TinyPreparation(Preparation[TinyParams]):
    """Windows over the whole image."""

    def prepare_job(self, case: Case, params: TinyParams) -> InferenceJob:
        plan = WindowPlan(tuple(params.window), 2, tile_step_size=params.tile_step_size, batch_size=params.batch_size)
        return InferenceJob(case.image, plan, lambda labels: labels)

    def example_input(self, case: Case, params: TinyParams) -> np.ndarray:
        box = tuple(slice(0, side) for side in params.window)
        return np.ascontiguousarray(case.image[(slice(None), *box)])


@dataclass(frozen=True)
class TinyScoring(Scoring[TinyParams]):
    """Dice of the cube."""

    model: TinyModel
    preparation: TinyPreparation

    def labels(self, params: TinyParams) -> LabelSet:
        return LabelSet(("background", "cube"))

    def score_names(self, params: TinyParams) -> tuple[str, ...]:
        return ("cube",)

    def score(self, prediction: np.ndarray, truth: np.ndarray, params: TinyParams) -> Scores:
        return {"cube": dice(prediction > 0, truth > 0)}

    def score_as_source(self, cases, predictor: Predictor, params: TinyParams) -> SourceScores:
        sample = self.preparation.example_input(cases[0], params)[None]
        fresh = run_network(self.model.load_untrained(params), sample)
        outputs = {"ours": predictor.submit(sample).result(), "fresh": fresh}
        rows = {name: {"sum": float(output.sum())} for name, output in outputs.items()}
        return SourceScores(rows, "The sum of all scores.")


_MODEL, _PREPARATION = TinyModel("tiny"), TinyPreparation()
RECIPE = Recipe(
    name="tiny",
    title="Tiny",
    params_model=TinyParams,
    model=_MODEL,
    cases=TinyCases(),
    preparation=_PREPARATION,
    scoring=TinyScoring(_MODEL, _PREPARATION),
    rewrites=("resize_5d_to_4d",),
)
