"""A recipe is a composition of four parts: a model source, a case source, a preparation and a scoring.

Each part is a small abstract class with the methods that the stages call. All of them are generic over the recipe's
parameters, and every method that depends on a run takes that run's parameters. A part that needs another one holds it
as a field of a frozen dataclass. `helpers.recipes.parts` has the implementations that several recipes share.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args

import numpy as np

from helpers.data.case import Case, CaseFiles
from helpers.data.truth import TruthValues
from helpers.errors import ParameterError
from helpers.graph.spec import GraphSpec
from helpers.inference import InferenceJob, Predictor, infer_job
from helpers.params.model import RunParams
from helpers.params.paths import PARAMS_FOLDER, find_input
from helpers.params.resolve import load_profile, resolve_params
from helpers.params.targets import Precision, load_target
from helpers.params.yaml_file import unknown_name_error
from helpers.run.result import Check
from helpers.scoring.dice import mean_of_known
from helpers.scoring.volume_metrics import StructureRule, metric_names, metric_of, structure_rules

if TYPE_CHECKING:
    import onnx
    import torch

P = TypeVar("P", bound=RunParams)

Scores = dict[str, float | None]
SMALL_JOB_BYTES = 64 << 20


@dataclass(frozen=True)
class LabelSet:
    """The classes of a run's masks.

    Attributes:
        names: of the class indices 0, 1, ...; the background first.
        values: the number that a mask file holds for each class.
        regions: name and class indices of each region that is scored instead of the classes, such as those of a
            network that separates overlapping regions; empty: each foreground class is scored.
        ignore: the number that marks voxels of a truth that was left undecided; no score counts them. None: none.

    >>> labels = LabelSet(("background", "liver", "lesion"))
    >>> labels.values
    (0, 1, 2)
    >>> labels.foreground
    {'liver': 1, 'lesion': 2}
    """

    names: tuple[str, ...]
    values: tuple[int, ...] = ()
    regions: tuple[tuple[str, tuple[int, ...]], ...] = ()
    ignore: int | None = None

    def __post_init__(self) -> None:
        if not self.values:
            object.__setattr__(self, "values", tuple(range(len(self.names))))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def foreground(self) -> dict[str, int]:
        """Class index by name, without the background."""
        return {name: index for index, name in enumerate(self.names) if index}

    @property
    def scored(self) -> dict[str, tuple[int, ...]]:
        """Class indices by the name of what is scored: the regions, or each foreground class."""
        return dict(self.regions) or {name: (index,) for name, index in self.foreground.items()}

    def to_json(self) -> dict[str, Any]:
        """The labels as JSON values; regions and the ignore label only where there are any."""
        content: dict[str, Any] = {"names": list(self.names), "values": list(self.values)}
        if self.regions:
            content["regions"] = [[name, list(indices)] for name, indices in self.regions]
        if self.ignore is not None:
            content["ignore"] = self.ignore
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LabelSet:
        """The labels from their JSON values."""
        regions = tuple((name, tuple(indices)) for name, indices in content.get("regions", ()))
        return cls(tuple(content["names"]), tuple(content["values"]), regions, content.get("ignore"))


@dataclass(frozen=True)
class SourceScores:
    """The source's own score by row (our network, an empty mask, an untrained network), and why it differs.

    Attributes:
        done: on how much of the data, such as "64 of 128 crops".
    """

    rows: Mapping[str, Mapping[str, float | None]]
    explanation: str
    done: str = ""


@dataclass(frozen=True)
class PictureSettings:
    """How the image behind a mask is shown.

    Attributes:
        channel: of the image.
        grey_window: name in `params/windows.yaml`.
    """

    channel: int = 0
    grey_window: str = "mr"


class LoadedModel(ABC):
    """A model with its weights in memory: the reference that every later form is compared with.

    Attributes:
        runs_in: what computes the reference, such as torch; for tables.
    """

    runs_in: ClassVar[str]

    @property
    def notes(self) -> Sequence[str]:
        """What `export` changed in the model, in words."""
        return ()

    @property
    @abstractmethod
    def check(self) -> Check:
        """How its weights were loaded."""

    @abstractmethod
    def export(self, spec: GraphSpec, path: Path) -> onnx.ModelProto:
        """Writes the ONNX graph that `spec` describes, and returns it.

        Raises:
            GraphError: the graph is not as specified.
        """

    def export_and_run(self, spec: GraphSpec, path: Path, sample: np.ndarray) -> tuple[onnx.ModelProto, np.ndarray]:
        """As `export`; also returns the scores for a batch (N, C, ...), which PyTorch computes while it exports."""
        return self.export(spec, path), self.scores(sample)

    @abstractmethod
    def output(self, batch: np.ndarray) -> np.ndarray:
        """The output of the exported graph for a batch (N, C, ...)."""

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """Class scores (N, classes, ...): the output itself, or the input of a final ArgMax."""
        return self.output(batch)


class Part(ABC, Generic[P]):
    """The base class of a recipe's four parts."""

    def check_params(self, params: P) -> None:
        """Refuses parameters that this part cannot serve, before any work starts.

        Raises:
            CookbookError: a parameter cannot be served; the message names the remedy.
        """


class ModelSource(Part[P]):
    """Where a run's network comes from, and the graph that it is exported to."""

    def build(self, variant: str | None = None) -> torch.nn.Module:
        """The official-size network in eval mode, weights untrained.

        Raises:
            ParameterError: this model has no official network.
        """
        raise ParameterError("this recipe has no network of its own", remedy="Its network comes from checkpoint.")

    @abstractmethod
    def graph_spec(self, params: P) -> GraphSpec:
        """Names and shapes of the exported graph."""

    @abstractmethod
    def checkpoint_paths(self, params: P) -> tuple[Path, ...]:
        """Every file that the weights come from; several for an ensemble."""

    @abstractmethod
    def load(self, params: P) -> LoadedModel:
        """The model of a run with its weights.

        Raises:
            CheckpointError: the weights do not fit the network.
        """

    def defaults(self, given: Mapping[str, object]) -> Mapping[str, object]:
        """Parameter values that the model itself determines, such as the opset of a file; over the recipe's own.

        Args:
            given: the values of the profile, and those given for the run, not validated yet.
        """
        return {}

    def load_for_export(self, params: P) -> torch.nn.Module:
        """The network that is exported, as a torch module in eval mode, for compilers that trace it.

        Raises:
            ParameterError: the model does not come from PyTorch.
        """
        raise ParameterError(
            "this model is not a PyTorch network", remedy="Choose a target that compiles ONNX, such as cpu."
        )

    def complete_params(self, params: P) -> P:
        """The parameters of a run with those that follow from others filled in."""
        return params

    def previous_params(self, params: P) -> P | None:
        """The parameters of a run whose masks this one needs, such as a cascade's first stage; None if it needs none.

        Raises:
            CookbookError: there is no model for that run.
        """
        return None

    def describe(self, params: P) -> dict[str, str]:
        """What the run opened, for people: what was chosen from several, and what was left out."""
        return {}

    def region_threshold(self, params: P) -> float | None:
        """The score above which a channel counts, if channels are regions that may overlap; else None."""
        return None

    def cache_key_extras(self, params: P) -> dict[str, object]:
        """JSON values that affect a result but are in neither weights nor parameters, such as a plan."""
        return {}


class CaseSource(Part[P]):
    """The cases of a data set: where they are, how they are read, and how a mask is written back."""

    @abstractmethod
    def list_cases(self, root: Path, params: P) -> list[CaseFiles]:
        """The cases below a data root, sorted by id."""

    @abstractmethod
    def read_case(self, files: CaseFiles, params: P) -> Case:
        """Reads and checks one case."""

    @abstractmethod
    def write_mask(self, classes: np.ndarray, case: Case, path: Path) -> None:
        """Writes class indices in the data set's own format, on the case's own grid."""

    @abstractmethod
    def read_mask(self, path: Path, case: Case) -> np.ndarray:
        """Class indices from a mask file.

        Raises:
            DataError: the mask is not on the case's grid.
        """

    def mask_values(self, case: Case, labels: LabelSet) -> tuple[int, ...]:
        """The number that a mask file of this case holds for each class."""
        return labels.values

    @abstractmethod
    def write_demo_cases(self, root: Path, seeds: Sequence[int]) -> list[str]:
        """Writes the demo cases that are missing, in the data set's own layout, and returns their ids."""

    def mask_suffix(self, params: P) -> str:
        """The suffix of the mask files."""
        return ".nii.gz"

    def skipped_files(self, root: Path, params: P) -> list[str]:
        """One line for each thing below a data root that looks like a part of the data set and is left out."""
        return []

    def data_folder(self, params: P) -> Path:
        """The user's data set."""
        return find_input(params.data_root, parameter="data_root")

    def held_out(self, root: Path, params: P) -> list[str] | None:
        """Ids below a data root that the model was not trained on; only they count in means. None: all count."""
        return None

    def picture_settings(self, params: P) -> PictureSettings:
        """How a case is shown behind its masks, by default."""
        return PictureSettings()


class Preparation(Part[P]):
    """How a case becomes input of the network, and the network's output a mask."""

    @abstractmethod
    def prepare_job(self, case: Case, params: P) -> InferenceJob:
        """The prepared image, the windows to run the network on, and how their scores become a mask."""

    def check_case(self, case: Case, params: P) -> None:
        """Refuses a case that this machine cannot prepare, before any long computation starts.

        Raises:
            CookbookError: it cannot be prepared; the message names the figures.
        """

    def peak_bytes(self, case: Case, params: P) -> int:
        """An upper bound of the memory that a case takes from when it was read to when its mask is written, in all.

        By default that of six arrays as large as the image, in float32, and what the windows of a small network take.
        """
        truth = 0 if case.truth is None else case.truth.nbytes
        return case.image.nbytes + truth + 6 * 4 * case.image.size + SMALL_JOB_BYTES

    @abstractmethod
    def example_input(self, case: Case, params: P) -> np.ndarray:
        """One prepared sample of a case (without batch axis), rich in foreground, for parity checks."""

    def segment(self, case: Case, predictor: Predictor, params: P) -> np.ndarray:
        """Class indices on the case's own grid, uint8."""
        job = self.prepare_job(case, params)
        return job.restore(infer_job(job.image, predictor, job.plan))

    def keeps_probabilities(self, params: P) -> bool:
        """Whether `segment_and_save` writes probabilities next to the mask."""
        return False

    def segment_and_save(self, case: Case, predictor: Predictor, params: P, path: Path) -> np.ndarray:
        """As `segment`; also writes what the run keeps next to the mask at `path`, such as probabilities."""
        return self.segment(case, predictor, params)


class Scoring(Part[P]):
    """The classes of a run, its scores per case, and the data set's scores.

    Attributes:
        has_nnunet_metrics: whether nnU-Net's metrics per label are reported.
    """

    has_nnunet_metrics: ClassVar[bool] = False

    @abstractmethod
    def labels(self, params: P) -> LabelSet:
        """The classes of the run's masks."""

    def truth_values(self, params: P) -> TruthValues:
        """The values that a truth may hold once `read_case` has read it: by default class indices and the ignored."""
        labels = self.labels(params)
        return TruthValues(dict(enumerate(labels.names)), () if labels.ignore is None else (labels.ignore,))

    @abstractmethod
    def score_names(self, params: P) -> tuple[str, ...]:
        """The scores in the order of tables; larger is better."""

    def headline_scores(self, params: P) -> tuple[str, ...]:
        """The scores whose mean represents a mask in a comparison."""
        return self.score_names(params)

    @abstractmethod
    def score(self, prediction: np.ndarray, truth: np.ndarray, params: P) -> Scores:
        """The scores of one case by `score_names`; None if there is nothing to find."""

    def structures(self, params: P) -> Mapping[str, Sequence[int]]:
        """Class indices of what surface and lesion metrics measure, by the names of scores; none for pictures."""
        return {}

    def calibration(self, case: Case, mask: Path, params: P) -> dict[str, float | None]:
        """ECE by structure of the probabilities that `segment_and_save` wrote next to a mask; empty without them."""
        return {}

    def tally(self, prediction: np.ndarray, truth: np.ndarray, params: P) -> np.ndarray | None:
        """Counts of one case that the data set's score is summed from, or None if scores are averaged over cases."""
        return None

    def aggregate(
        self, scores: Sequence[Mapping[str, float | None]], tallies: Sequence[np.ndarray | None], params: P
    ) -> Scores:
        """The data set's scores: by default the mean over the cases that have something to find."""
        return {name: mean_of_known([values[name] for values in scores]) for name in self.score_names(params)}

    def describe_case(self, prediction: np.ndarray, truth: np.ndarray, params: P) -> dict[str, object]:
        """Further figures of one case, for `reports`."""
        return {}

    def reports(self, figures: Mapping[str, Mapping], params: P) -> dict[str, object]:
        """JSON files that a data set's own tools write, by name, from `describe_case` of each case that counts."""
        return {}

    def score_as_source(self, cases: Sequence[Case], predictor: Predictor, params: P) -> SourceScores | None:
        """The source's own score next to the correct one, or None if they are the same.

        Args:
            cases: those with a truth, at least one; each is read when it is accessed, so that only one is in memory.
            predictor: the run's device. It raises an OutOfTimeError once the time for this score has passed
                (`helpers.inference.time_limit.while_time_lasts`).
            params: of the run.
        """
        return None


@dataclass(frozen=True)
class Recipe(Generic[P]):
    """One model: its four parts, its parameters, and how its graph is rewritten and linted.

    Attributes:
        name: also the name of its folder in `params/`.
        title: as shown to the user.
        params_model: the shared parameters with the recipe's own added.
        defaults: parameter values of this recipe, over those of the target.
        rewrites: graph rewrites to apply, by name.
        targets_to_lint: vendor targets to check the graph against, the strictest first.
        params_folder: holds `<name>/<profile>.yaml`.
    """

    name: str
    title: str
    params_model: type[P]
    model: ModelSource[P]
    cases: CaseSource[P]
    preparation: Preparation[P]
    scoring: Scoring[P]
    defaults: Mapping[str, object] = field(default_factory=dict)
    rewrites: tuple[str, ...] = ()
    targets_to_lint: tuple[str, ...] = ("ascend310", "ascend310p3")
    params_folder: Path = PARAMS_FOLDER

    def __post_init__(self) -> None:
        for part in self._parts():
            if vars(part) and not is_dataclass(part):
                names = ", ".join(vars(part))
                raise TypeError(
                    f"{type(part).__name__} of the recipe {self.name} holds values ({names}): make it a frozen"
                    " dataclass, whose fields count in cache keys"
                )

    def network(self, variant: str | None = None) -> torch.nn.Module:
        """The official-size network in eval mode, weights untrained."""
        return self.model.build(variant)

    def prepare_params(self, **given: object) -> P:
        """Resolved parameters of this recipe, checked by each of its parts.

        Raises:
            CookbookError: a parameter is unknown, invalid, or cannot be served.
        """
        given = {name: value for name, value in given.items() if value is not None}
        profile = load_profile(self.name, str(given.get("profile", "demo")), self.params_folder)
        defaults = {**self.defaults, **self.model.defaults({**profile, **given})}
        params = resolve_params(self.params_model, self.name, defaults, given, self.params_folder)
        params = self.model.complete_params(params)
        for part in self._parts():
            part.check_params(params)
        self._check_names(params)
        return params

    def labels(self, params: P) -> LabelSet:
        """The classes of a run's masks."""
        return self.scoring.labels(params)

    def score_names(self, params: P) -> tuple[str, ...]:
        """The scores of a run, in the order of tables."""
        return self.scoring.score_names(params)

    def metric_rules(self, params: P) -> dict[str, StructureRule]:
        """How each structure of a volume is measured; empty if a run measures none."""
        structures = self.scoring.structures(params) if params.volume_metrics else {}
        rules = structure_rules(self.name, structures, params.nsd_tolerance_mm, params.lesion_labels)
        if self.preparation.keeps_probabilities(params):
            rules = {name: replace(rule, has_probabilities=True) for name, rule in rules.items()}
        return rules

    def picture_settings(self, params: P) -> PictureSettings:
        """How a run's cases are shown behind their masks: by its parameters, else by the recipe."""
        settings = self.cases.picture_settings(params)
        return replace(settings, grey_window=params.grey_window) if params.grey_window else settings

    def _check_names(self, params: P) -> None:
        """Refuses names that a later stage would not know, before anything is started."""
        minimum = params.minimum_scores or {}
        self._check_metric_names(params)
        for name, score in minimum.items():
            if not 0 <= score <= 1:
                raise ParameterError(
                    f"no score can be the minimum of {name!r} in minimum_scores",
                    received=score,
                    expected="0 to 1",
                    remedy="Divide a percentage by 100.",
                )
        for name in params.study_targets:
            load_target(name)
        for name in params.study_precisions:
            if name not in get_args(Precision):
                raise unknown_name_error("precision", name, get_args(Precision), where="in study_precisions")

    def _check_metric_names(self, params: P) -> None:
        """Refuses names of scores, metrics, labels and regions that the run does not have, and negative limits."""
        if not (params.minimum_scores or params.maximum_scores or params.nsd_tolerance_mm or params.lesion_labels):
            return
        rules = self.metric_rules(params)
        scores, metrics = self.score_names(params), metric_names(rules)
        larger = [name for name in metrics if metric_of(name).better == "larger"]
        smaller = [name for name in metrics if name not in larger]
        given = {
            "minimum_scores": ("score", params.minimum_scores or (), [*scores, *larger]),
            "maximum_scores": ("metric", params.maximum_scores, smaller),
            "nsd_tolerance_mm": ("label or region", params.nsd_tolerance_mm, list(rules)),
            "lesion_labels": ("label or region", params.lesion_labels or (), list(rules)),
        }
        for where, (kind, names, known) in given.items():
            for name in names:
                if name not in known:
                    raise unknown_name_error(kind, name, known, where=f"in {where}")
        for where, limits in (
            ("maximum_scores", params.maximum_scores),
            ("nsd_tolerance_mm", params.nsd_tolerance_mm),
        ):
            for name, limit in limits.items():
                if limit < 0:
                    raise ParameterError(f"{name!r} in {where} is negative", received=limit, expected="0 or more")

    def _parts(self) -> tuple[Part[P], ...]:
        return self.model, self.cases, self.preparation, self.scoring
