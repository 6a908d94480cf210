"""The base of every recipe: the questions that the stages ask about a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from helpers.data.case import Case, CaseFiles
from helpers.graph.spec import GraphSpec
from helpers.inference import InferenceJob, infer_job
from helpers.params.model import RunParams
from helpers.params.paths import WEIGHTS_FOLDER, find_input
from helpers.scoring.dice import mean_of_known

if TYPE_CHECKING:
    import torch

    from helpers.networks.checkpoint import LoadReport

Infer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SourceScores:
    """The source's own score by row (ours, an empty answer, an untrained network), and why it differs."""

    rows: Mapping[str, Mapping[str, float | None]]
    explanation: str


class Recipe(ABC):
    """One model: its network and checkpoint, its graph, how a case becomes a mask, and which scores count.

    A subclass is one file. It sets the class attributes and answers the abstract methods; everything else
    (caching, checks, devices, pictures, tables) belongs to the stages.

    Attributes:
        name: also the name of the params folder.
        title: as a reader sees it.
        params_model: parameters with the recipe's own added.
        defaults: parameter values of this recipe, over those of the target.
        class_names: of the class indices 0, 1, ...
        score_names: in the order of tables; larger is better.
        headline_scores: those whose mean stands for a mask in a comparison; () means all.
        has_nnunet_metrics: whether the source reports nnU-Net's thirteen metrics of each label.
        rewrites: graph rewrites to offer, by name.
        targets_to_lint: vendor targets whose objections are shown, the strictest first.
        mask_suffix: of the mask files.
        shown_channel: image channel behind the masks in pictures.
        grey_window: of `params/windows.yaml`, for pictures of that channel.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    params_model: ClassVar[type[RunParams]] = RunParams
    defaults: ClassVar[Mapping[str, object]] = {}
    class_names: ClassVar[tuple[str, ...]]
    score_names: ClassVar[tuple[str, ...]]
    headline_scores: ClassVar[tuple[str, ...]] = ()
    has_nnunet_metrics: ClassVar[bool] = False
    rewrites: ClassVar[tuple[str, ...]] = ()
    targets_to_lint: ClassVar[tuple[str, ...]] = ("ascend310", "ascend310p3")
    mask_suffix: ClassVar[str] = ".nii.gz"
    shown_channel: ClassVar[int] = 0
    grey_window: ClassVar[str] = "mr"

    @abstractmethod
    def network(self, variant: str | None = None) -> torch.nn.Module:
        """The official-size network in eval mode, weights untrained."""

    @abstractmethod
    def network_for(self, state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        """The network whose widths fit a state dict (the demo weights are narrower than the official ones)."""

    def adapt_state(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A state dict in the names that the network uses; for projects that renamed theirs between versions."""
        return dict(state)

    def graph_network(self, network: torch.nn.Module, params: RunParams) -> torch.nn.Module:
        """What is exported: the network itself, or with steps that the source keeps in its graph (an ArgMax)."""
        return network

    @abstractmethod
    def graph_spec(self, params: RunParams) -> GraphSpec:
        """Names and shapes of the exported graph."""

    @abstractmethod
    def list_cases(self, root: Path, params: RunParams) -> list[CaseFiles]:
        """The cases below a data root, sorted by id."""

    @abstractmethod
    def read_case(self, case: CaseFiles, params: RunParams) -> Case:
        """Reads and checks one case."""

    @abstractmethod
    def prepare_job(self, case: Case, params: RunParams) -> InferenceJob:
        """What the network is asked about a case, and how its answer becomes a mask on the case's own grid."""

    def segment(self, case: Case, infer: Infer, params: RunParams) -> np.ndarray:
        """Class indices on the case's own grid, uint8; `infer` maps a batch of inputs to the graph's output."""
        job = self.prepare_job(case, params)
        return job.restore(infer_job(job.image, infer, job.plan))

    def segment_and_save(self, case: Case, infer: Infer, params: RunParams, path: Path) -> np.ndarray:
        """As `segment`; what the run wants kept beside the mask at `path` is written there."""
        return self.segment(case, infer, params)

    def cache_key_extras(self, params: RunParams) -> dict[str, object]:
        """JSON values that decide a result and stand in neither the weights nor the parameters (a plan's file)."""
        return {}

    @abstractmethod
    def example_input(self, case: Case, params: RunParams) -> np.ndarray:
        """One prepared sample of a case (without batch axis), rich in foreground, for parity checks."""

    @abstractmethod
    def write_mask(self, classes: np.ndarray, case: Case, path: Path) -> None:
        """Writes a mask in the data set's own form, on the case's own grid."""

    @abstractmethod
    def read_mask(self, path: Path, case: Case) -> np.ndarray:
        """Class indices from a written mask.

        Raises:
            DataError: the mask does not lie on the case's grid.
        """

    @abstractmethod
    def score(self, prediction: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
        """The recipe's scores of one case by `score_names`; None where there is nothing to find."""

    def tally(self, prediction: np.ndarray, truth: np.ndarray) -> np.ndarray | None:
        """Counts of one case that a data set's score is summed from, or None where scores are averaged over cases."""
        return None

    def aggregate(
        self, scores: Sequence[Mapping[str, float | None]], tallies: Sequence[np.ndarray | None]
    ) -> dict[str, float | None]:
        """The data set's scores: by default the mean over the cases where there is something to find."""
        return {name: mean_of_known([values[name] for values in scores]) for name in self.score_names}

    def held_out(self, root: Path, params: RunParams) -> list[str] | None:
        """Ids below a data root that the model was not trained on, which alone count in means; None: all count."""
        return None

    def describe_case(self, prediction: np.ndarray, truth: np.ndarray) -> dict[str, object]:
        """Further figures of one case, for `reports`."""
        return {}

    def reports(self, figures: Mapping[str, Mapping], params: RunParams) -> dict[str, object]:
        """JSON files that a data set's own tools write, by name, from `describe_case` of each case that counts."""
        return {}

    @abstractmethod
    def write_demo_cases(self, root: Path, seeds: Sequence[int]) -> list[str]:
        """Makes demo cases in the data set's own layout and returns their ids."""

    def score_as_source(
        self, cases: Sequence[Case], infer: Infer, untrained: Infer, params: RunParams
    ) -> SourceScores | None:
        """The source's own score beside the right one, or None where the source has no other.

        Args:
            cases: those with a truth; each is read when it is asked for, so that only one is in memory.
            infer: the run's device.
            untrained: the same network with fresh random weights.
            params: of the run.
        """
        return None

    def prepare_params(self, **given: object) -> RunParams:
        """Resolved parameters of this recipe."""
        from helpers.params.resolve import resolve_params

        return resolve_params(self.params_model, self.name, self.defaults, given)

    def checkpoint_path(self, params: RunParams) -> Path:
        """The checkpoint file: the shipped demo weights, or the user's; the first of several."""
        return self.checkpoint_paths(params)[0]

    def checkpoint_paths(self, params: RunParams) -> tuple[Path, ...]:
        """Every checkpoint file of the network: several where it is an ensemble."""
        if params.checkpoint == "demo":
            return (WEIGHTS_FOLDER / f"{self.name}_demo.safetensors",)
        return (find_input(params.checkpoint, parameter="checkpoint"),)

    def data_folder(self, params: RunParams) -> Path:
        """The user's data set."""
        return find_input(params.data_root, parameter="data_root")

    def trained_network(self, params: RunParams) -> tuple[torch.nn.Module, LoadReport]:
        """The network of a run with its checkpoint loaded strictly.

        Raises:
            CheckpointError: a key is missing, unexpected or of another shape; it is named.
        """
        return self.load_network(self.checkpoint_path(params))

    def load_network(self, path: Path) -> tuple[torch.nn.Module, LoadReport]:
        """The network that one checkpoint fits, loaded strictly.

        Raises:
            CheckpointError: as `trained_network`.
        """
        from helpers.networks.checkpoint import load_checkpoint, load_state_dict

        network = self.network_for(self.adapt_state(load_state_dict(path)[0]))
        return network.eval(), load_checkpoint(network, path, self.adapt_state)

    def deployed_network(self, params: RunParams) -> torch.nn.Module:
        """The trained network with what the graph adds to it: the truth that every later form is compared with."""
        network, _ = self.trained_network(params)
        return self.graph_network(network, params).eval()
