"""Any segmentation model that is given as a file, described by a model card."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx
from pydantic import ValidationError

from helpers.card.case_files import IGNORED, list_card_cases, read_card_case, read_written_mask, write_card_mask
from helpers.card.fitting import CardFitting, LabelRule, crop_window
from helpers.card.network import CardNetwork, NetworkPorts, TorchNetwork, open_network, uses_sigmoid
from helpers.card.reading import OpenedCard, open_card
from helpers.card.schema import ModelCard
from helpers.card.torch_file import digest_of_factory
from helpers.data.case import Case, CaseFiles
from helpers.data.case_volumes import with_reading
from helpers.errors import ParameterError
from helpers.graph.read import load_graph
from helpers.graph.spec import GraphSpec
from helpers.inference import InferenceJob
from helpers.params.model import RunParams
from helpers.params.paths import find_input
from helpers.params.targets import load_target
from helpers.recipes.base import (
    CaseSource,
    LabelSet,
    LoadedModel,
    ModelSource,
    PictureSettings,
    Preparation,
    Recipe,
    Scores,
    Scoring,
)
from helpers.run.result import Check
from helpers.scoring.dice import dice

if TYPE_CHECKING:
    import torch


class OwnModelParams(RunParams):
    """The recipe's own parameters."""

    PATHS: ClassVar[frozenset[str]] = RunParams.PATHS | {"card"}

    card: str = "demo"
    """Model card: demo, or a YAML file, see docs/model-card.md."""
    run_factory: bool = False
    """Consent to run the Python code that the card names as its factory."""


def opened_card(params: OwnModelParams) -> OpenedCard:
    """The card of a run, with the model file that `checkpoint` names in place of its own."""
    opened = open_card(params.card)
    if params.checkpoint == "demo":
        return opened
    file = str(find_input(params.checkpoint, parameter="checkpoint"))
    entry = "file" if opened.card.model.factory is None else "checkpoint"
    model = opened.card.model.model_copy(update={entry: file})
    return dataclasses.replace(opened, card=opened.card.model_copy(update={"model": model}))


def network_of(params: OwnModelParams) -> CardNetwork:
    """The network of a run."""
    return open_network(opened_card(params), consent=params.run_factory)


def _card(params: OwnModelParams) -> ModelCard:
    return opened_card(params).card


@dataclass(frozen=True)
class FileModel(ModelSource[OwnModelParams]):
    """The model that the card names."""

    def check_params(self, params: OwnModelParams) -> None:
        """Opens the model and compares it with the card."""
        ports = network_of(params).ports
        if ports.batch is None:
            return
        sizes = params.batch_gears or [params.batch_size]
        if not params.dynamic_batch and sizes != [ports.batch]:
            raise ParameterError(
                "the model fixes its batch size",
                received=f"batch_size {params.batch_size}" if not params.batch_gears else f"gears {sizes}",
                expected=str(ports.batch),
                remedy="Use that size, or `-p dynamic_batch true` to try to make the batch axis free.",
            )

    def defaults(self, given: Mapping[str, object]) -> Mapping[str, object]:
        """The opset of the file, or the nearest that the target takes, and the batch size that the file fixes."""
        known = {name: given[name] for name in ("card", "checkpoint", "run_factory", "target") if name in given}
        try:
            network = network_of(OwnModelParams.model_validate({"recipe": "own_model", **known}))
        except ValidationError:
            return {}  # the parameters are validated next, with an error that names the place
        values: dict[str, object] = {}
        if network.opset is not None:
            target = load_target(str(given.get("target", "cpu")))
            values["opset"] = min(max(network.opset, target.opset_minimum), target.opset_maximum)
        if network.ports.batch is not None:
            values |= {"dynamic_batch": False, "batch_size": network.ports.batch}
        return values

    def graph_spec(self, params: OwnModelParams) -> GraphSpec:
        """The names of the model; the size and the channels of the card."""
        ports = network_of(params).ports
        return GraphSpec.of_run(params, ports.input_name, ports.output_name, (ports.channels, *ports.size))

    def checkpoint_paths(self, params: OwnModelParams) -> tuple[Path, ...]:
        """The model file, or the checkpoint of a factory; and the files with the weights of a large ONNX model."""
        path = opened_card(params).model_file
        return (path, *external_files(path)) if path.suffix.lower() == ".onnx" else (path,)

    def load(self, params: OwnModelParams) -> LoadedModel:
        """The model as it was given."""
        network = network_of(params)
        return (LoadedArchive if isinstance(network, TorchNetwork) else LoadedFile)(network)

    def load_for_export(self, params: OwnModelParams) -> torch.nn.Module:
        """The module in an archive of torch, or of a factory."""
        network = network_of(params)
        if not isinstance(network, TorchNetwork):
            return super().load_for_export(params)
        return network.for_tracing()

    def cache_key_extras(self, params: OwnModelParams) -> dict[str, object]:
        """The card itself, and the code of a factory."""
        opened = opened_card(params)
        factory = opened.card.model.factory
        code = {"factory": digest_of_factory(factory, opened.path.parent)} if factory else {}
        return {"card": _card(params).model_dump(mode="json"), **code}

    def region_threshold(self, params: OwnModelParams) -> float | None:
        """The score above which a class is there, if each class has its own."""
        return label_rule(_card(params), network_of(params).ports).threshold


def external_files(path: Path) -> tuple[Path, ...]:
    """The files next to an ONNX file that hold its weights."""
    model = onnx.load(str(path), load_external_data=False)
    names = {
        entry.value
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return tuple(path.parent / name for name in sorted(names))


@dataclass(frozen=True)
class LoadedFile(LoadedModel):
    """An ONNX file as the user gave it, in ONNX Runtime."""

    runs_in = "the file"

    network: CardNetwork
    changes: list[str] = field(default_factory=list)

    @property
    def notes(self) -> Sequence[str]:
        """How the ports were changed."""
        return self.changes

    @property
    def check(self) -> Check:
        """What was opened."""
        return Check("model opened", True, self.network.description)

    def export(self, spec: GraphSpec, path: Path) -> onnx.ModelProto:
        """Writes the graph with the ports of the cookbook, and proves that its scores are the model's."""
        self.changes[:] = self.network.export(spec, path)
        return load_graph(path)

    def output(self, batch: np.ndarray) -> np.ndarray:
        """The scores for a batch (N, C, ...)."""
        return self.network.runner.scores(batch)


class LoadedArchive(LoadedFile):
    """An archive of torch, or the network of a factory, in PyTorch."""

    runs_in = "torch"


def label_rule(card: ModelCard, ports: NetworkPorts) -> LabelRule:
    """How the scores of a model become labels."""
    channels = ports.scores[0]
    if not uses_sigmoid(card, channels):
        return LabelRule(channels)
    chance = card.output.threshold
    threshold = math.log(chance / (1 - chance)) if card.output.kind == "logits" else chance
    return LabelRule(channels, threshold, tuple(range(1, channels + 1)))


class CardCases(CaseSource[OwnModelParams]):
    """Pictures or volumes by the file patterns of the card."""

    def list_cases(self, root: Path, params: OwnModelParams) -> list[CaseFiles]:
        """Every case below a root."""
        return with_reading(list_card_cases(_card(params), root, params.cases), params.series, params.allow_shear)

    def read_case(self, files: CaseFiles, params: OwnModelParams) -> Case:
        """Reads and checks one case."""
        return read_card_case(_card(params), files)

    def write_mask(self, classes: np.ndarray, case: Case, path: Path) -> None:
        """The values of the card that the case was read by."""
        write_card_mask(classes, case, path)

    def read_mask(self, path: Path, case: Case) -> np.ndarray:
        """Class indices of a mask that `write_mask` wrote."""
        return read_written_mask(path, case)

    def mask_suffix(self, params: OwnModelParams) -> str:
        """As the card says; by default .nii.gz or .png."""
        card = _card(params)
        return card.masks.suffix or (".nii.gz" if card.is_volume else ".png")

    def write_demo_cases(self, root: Path, seeds: Sequence[int]) -> list[str]:
        """Drawn cells."""
        from helpers.demo.cells import write_demo_cases

        return write_demo_cases(root, seeds)

    def picture_settings(self, params: OwnModelParams) -> PictureSettings:
        """The first channel."""
        return PictureSettings()


class CardPreparation(Preparation[OwnModelParams]):
    """Size, orientation and intensities as the card says."""

    def prepare_job(self, case: Case, params: OwnModelParams) -> InferenceJob:
        """The prepared case."""
        return self._fitting(params).prepare(case)

    def example_input(self, case: Case, params: OwnModelParams) -> np.ndarray:
        """The whole picture, or the window around the middle of the labelled voxels."""
        fitting = self._fitting(params)
        job = fitting.prepare(case)
        if job.plan is None:
            return job.image
        centre: tuple[int, ...] = tuple(length // 2 for length in job.image.shape[1:])
        if case.truth is not None and _labelled(case.truth).any():
            truth = case.truth if case.geometry is not None else case.truth[None]
            centre = fitting.place_of(case, _labelled(truth))
        return crop_window(job.image, centre, job.plan)

    def _fitting(self, params: OwnModelParams) -> CardFitting:
        card, ports = _card(params), network_of(params).ports
        return CardFitting(card, ports.size, label_rule(card, ports), params.batch_size)


def _labelled(truth: np.ndarray) -> np.ndarray:
    return (truth > 0) & (truth != IGNORED)


class CardScoring(Scoring[OwnModelParams]):
    """Dice and IoU of each class, and of regions of several classes."""

    def labels(self, params: OwnModelParams) -> LabelSet:
        """The classes of the card."""
        card = _card(params)
        ignored = IGNORED if card.data.ignore else None
        return LabelSet(tuple(card.classes), tuple(card.classes.values()), ignore=ignored)

    def score_names(self, params: OwnModelParams) -> tuple[str, ...]:
        """Such as `Dice liver`: each score of each class, then of each region."""
        card = _card(params)
        return tuple(f"{score} {name}" for score in card.scores.per_class for name in _scored(card))

    def headline_scores(self, params: OwnModelParams) -> tuple[str, ...]:
        """The first kind of score."""
        card = _card(params)
        return tuple(f"{card.scores.per_class[0]} {name}" for name in _scored(card))

    def score(self, prediction: np.ndarray, truth: np.ndarray, params: OwnModelParams) -> Scores:
        """The scores of one case; ignored voxels count nowhere."""
        card, counted = _card(params), truth != IGNORED
        values: Scores = {}
        for score in card.scores.per_class:
            for name, members in _scored(card).items():
                found, wanted = np.isin(prediction, members) & counted, np.isin(truth, members) & counted
                overlap = dice(found, wanted)
                values[f"{score} {name}"] = overlap if score == "Dice" or overlap is None else overlap / (2 - overlap)
        return values

    def structures(self, params: OwnModelParams) -> Mapping[str, Sequence[int]]:
        """The classes and regions of a volume."""
        card = _card(params)
        return _scored(card) if card.is_volume else {}


def _scored(card: ModelCard) -> dict[str, list[int]]:
    """Class indices of each class and each region."""
    classes = card.foreground
    regions = {name: [classes[member] for member in members] for name, members in card.scores.regions.items()}
    return {name: [index] for name, index in classes.items()} | regions


RECIPE = Recipe(
    name="own_model",
    title="Own model",
    params_model=OwnModelParams,
    model=FileModel(),
    cases=CardCases(),
    preparation=CardPreparation(),
    scoring=CardScoring(),
    rewrites=("drop_empty_pad",),
)
