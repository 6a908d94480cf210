"""The parts of every nnU-Net recipe: a model folder's plan determines how a case is prepared and restored."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
from pydantic import Field, field_validator, model_validator

from helpers.data.case import Case, CaseFiles
from helpers.data.case_volumes import series_by_role, with_reading
from helpers.data.nnunet import cases as nnunet_cases
from helpers.data.nnunet.cascade import add_previous_stage, check_cascade
from helpers.data.nnunet.cases import raw_folder
from helpers.data.nnunet.model_choice import (
    CONFIGURATION,
    TrainedModel,
    Wanted,
    choose_model,
    models_below,
    models_of_dataset,
)
from helpers.data.nnunet.model_folder import ModelFolder, is_model_folder, open_model_folder
from helpers.data.nnunet.plan import Plan, plan_from_v2
from helpers.data.nnunet.postprocess import apply_postprocessing
from helpers.data.nnunet.preprocess import (
    Prepared,
    check_resampling,
    prepare_case,
    prepared_shape,
    restore_labels,
    window_around_truth,
)
from helpers.data.nnunet.readers import (
    PICTURES,
    check_reader,
    mask_suffix,
    read_mask,
    sight_of_case,
    write_mask,
)
from helpers.data.nnunet.saved_softmax import read_softmax, write_softmax
from helpers.data.nnunet.splits import find_held_out
from helpers.data.nnunet.v1_trainers import layers_of_trainer
from helpers.errors import DataError, ParameterError, StepOrderError
from helpers.graph.spec import GraphSpec
from helpers.inference import InferenceJob, Predictor, WindowPlan, infer_scores, slab_to_labels
from helpers.inference.budget import check_memory_of_resampling, estimate_memory
from helpers.inference.scores import ACTIVATIONS
from helpers.params.model import RunParams
from helpers.params.paths import PROJECT_ROOT, find_input, place_output
from helpers.params.yaml_file import split_numbers
from helpers.recipes.base import LabelSet, PictureSettings, Preparation, Scores, Scoring
from helpers.recipes.nnunet_networks import build_from_weights, build_planned, check_channels
from helpers.recipes.parts import TorchModel, VolumeCases
from helpers.run.run import run_folder
from helpers.scoring.calibration import calibration_error
from helpers.scoring.dice import dice_of_regions, mean_of_known, without_ignored
from helpers.scoring.nnunet_metrics import (
    counts_of_case,
    key_of_labels,
    metrics_of_case,
    summary_of_cases,
    summary_of_v2,
)

if TYPE_CHECKING:
    import torch

    from helpers.networks.checkpoint import LoadReport
    from helpers.networks.nnunet import GenericUNet
    from helpers.networks.unetpp import GenericUNetPlusPlus

Folds = list[int | str] | None
PREVIOUS = "previous stage"  # role of a file: the mask of a cascade's first stage


def find_model(checkpoint: str, wanted: Wanted, folds: Folds, checkpoint_name: str | None = None) -> ModelFolder:
    """Opens the model that `checkpoint` names; it is reopened only if its files change.

    Args:
        checkpoint: a model folder, a folder of one of its folds, a checkpoint file in one, a data set's folder with
            several models, or the name or number of a data set (Task003_Liver, Dataset003_Liver, 3) below
            `nnUNet_results` or `RESULTS_FOLDER`.
        wanted: which of several models.
        folds: None for every fold that exists.
        checkpoint_name: file to use in each fold; None: that of the last epoch.

    Raises:
        ParameterError: there is no such path, it is not a model folder, or it is another model than the wanted one.
        DataError: the model folder lacks a fold, or none of several models is nnU-Net's default.
    """
    models = [] if _is_path(checkpoint) else models_of_dataset(checkpoint)
    path = choose_model(models, wanted).path if models else find_input(checkpoint, parameter="checkpoint")
    folder = path if path.is_dir() else path.parent
    if not is_model_folder(folder):
        models = models_below(folder)
        if not models:
            raise ParameterError(
                "checkpoint is not a model folder of nnU-Net",
                received=path,
                expected="the folder with plans.pkl (v1) or plans.json (v2), or a file in one of its folds",
                remedy="Name the complete model folder: its plan determines how a case is prepared.",
            )
        path = folder = choose_model(models, wanted).path
    chosen = folds if folder == path and not _is_fold(path) else [folder.name.removeprefix("fold_")]
    name = checkpoint_name if folder == path else path.name
    model = _open(folder, None if chosen is None else tuple(chosen), name, _stamp(folder))
    _check_wanted(model, wanted)
    return model


def _check_wanted(model: ModelFolder, wanted: Wanted) -> None:
    parts = model.root.name.split("__")
    found = {"configuration": model.plan.configuration, "trainer": model.trainer}
    found |= {"trainer": parts[0], "plans": parts[1]} if len(parts) > 1 else {}
    for part, value in wanted.named().items():
        if found.get(part, value) != value:
            raise ParameterError(
                f"the model folder is of another {part}",
                received=value,
                expected=found[part],
                remedy=f"Omit {part}, or set checkpoint to the folder of the data set.",
            )


def find_data(data_root: str) -> Path:
    """The folder that `data_root` names: a path, or a data set's name or number below nnU-Net's variables.

    Raises:
        ParameterError: there is no such path, and the variables are not set.
        DataError: they are set, and there is no such data set.
    """
    found = None if _is_path(data_root) else raw_folder(data_root)
    return found or find_input(data_root, parameter="data_root")


def _is_path(text: str) -> bool:
    given = Path(text).expanduser()
    return len(given.parts) > 1 or given.exists() or (PROJECT_ROOT / given).exists()


def _is_fold(folder: Path) -> bool:
    return folder.name == "all" or folder.name.startswith("fold_")


def _stamp(folder: Path) -> tuple:
    """Names, times and sizes of the model's files: changes when one of them does."""
    root = folder.parent if _is_fold(folder) else folder
    files = [path for pattern in ("*", "fold_*/*", "all/*") for path in sorted(root.glob(pattern)) if path.is_file()]
    return tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)


@lru_cache(maxsize=8)
def _open(
    folder: Path, folds: tuple[int | str, ...] | None, checkpoint_name: str | None, stamp: tuple
) -> ModelFolder:
    return open_model_folder(folder, folds, checkpoint_name)


class NnunetParams(RunParams):
    """The family's parameters; those that are not set come from the plan."""

    NOT_IN_MASKS: ClassVar[frozenset[str]] = frozenset(
        {"split", "ref_folder", "source_cases", "num_parts", "part_id", "prev_stage_predictions"}
    )
    PATHS: ClassVar[frozenset[str]] = RunParams.PATHS | {"ref_folder", "prev_stage_predictions"}

    trainer: str | None = None
    """Trainer of the model, if the data set has several, as nnU-Net's -tr; null: the default, or the only one."""
    plans: str | None = None
    """Plans of the model, likewise, as nnU-Net's -p."""
    configuration: str | None = None
    """Configuration of the model, likewise, as nnU-Net's -c: 2d, 3d_fullres, 3d_lowres or 3d_cascade_fullres."""
    checkpoint_name: str | None = None
    """File to use in each fold, as nnU-Net's -chk, such as checkpoint_best.pth; null: that of the last epoch."""
    fold: int | str | None = None
    """Fold of a model folder; all: nnU-Net's model of all cases; null: every fold that exists."""
    folds: list[int | str] | Literal["all"] | None = None
    """Several folds, averaged as their version does; all: every fold that exists."""
    prev_stage_predictions: str | None = None
    """Folder of the masks of a cascade's first stage; null: the model folder next to this one computes them."""
    num_parts: int = Field(1, ge=1)
    """Parts that the cases are split into, to be run by as many processes."""
    part_id: int = Field(0, ge=0)
    """The part that this run computes, from 0."""
    as_version: Literal[1, 2] | None = None
    """Version of nnU-Net whose rules apply (order of preparation, what is averaged); null: the model folder's."""
    tile_step_size: float = Field(0.5, gt=0, le=1)
    """Distance between windows as a fraction of the window."""
    gaussian: bool = True
    """Whether the centre of a window weighs more than its border."""
    mirror_axes: list[int] | None = None
    """Axes of test-time mirroring; null: as the model was trained."""
    keep_largest: bool = True
    """Whether `postprocessing.json` of the model folder is applied."""
    reuse_constant_windows: bool = False
    """Whether windows of one value, such as air, are run only once; changes no voxel."""
    save_softmax: bool = False
    """Whether probabilities are saved next to each mask, in the format of the model's version of nnU-Net."""
    split: Literal["validation", "all"] | None = None
    """data_root is the model's training set: the fold's held-out cases or all; only held-out ones count in means."""
    ref_folder: str | None = None
    """Folder of the labels, if they are not next to the images."""
    source_cases: int = Field(2, ge=1)
    """Cases for the source's own score."""

    @field_validator("checkpoint", "data_root", mode="before")
    @classmethod
    def _data_set_by_number(cls, value: object) -> object:
        return str(value) if type(value) is int else value

    @field_validator("folds", mode="before")
    @classmethod
    def _split_folds(cls, value: object) -> object:
        # `-p folds 0` is a number, `-p folds 0,1` and `-p folds "[0, 1]"` are text.
        if type(value) is int:
            return [value]
        return value if value == "all" else split_numbers(value)

    @property
    def wanted_folds(self) -> list[int | str] | None:
        """The folds to open; None for every fold that exists."""
        if self.folds == "all":
            return None
        named = self.folds or ([self.fold] if self.fold is not None else None)
        return None if named is None else list(named)

    @model_validator(mode="after")
    def _check_part_id(self) -> NnunetParams:
        if self.part_id >= self.num_parts:
            raise ValueError(f"part_id {self.part_id} is not below num_parts {self.num_parts}")
        return self


N = TypeVar("N", bound=NnunetParams)


class Demo(Protocol):
    """The model that `checkpoint: demo` means."""

    @property
    def configuration(self) -> str:
        """Preferred if the user's data set has models of several."""

    def open(self, weights: Path) -> ModelFolder:
        """The model, given the path of a recipe's shipped weights, `<recipe>_demo.safetensors`."""


@dataclass(frozen=True)
class NnunetDemo:
    """The shipped demo weights of a recipe, described as a model folder describes itself.

    Attributes:
        configuration: of the plan.
        class_names: the background first.
        mirror_axes: that the weights were trained with.
    """

    configuration: str
    class_names: tuple[str, ...]
    mirror_axes: tuple[int, ...] = ()

    def open(self, weights: Path) -> ModelFolder:
        """The demo weights, `<recipe>_demo.safetensors`, in the form of a model folder."""
        name = weights.stem.removesuffix("_demo")
        plan = self._plan(weights.with_name(f"{weights.stem}_plans.json"))
        return ModelFolder(weights.parent, plan, (weights,), ("demo",), name, self.mirror_axes, ())

    def _plan(self, path: Path) -> Plan:
        labels = {name: index for index, name in enumerate(self.class_names)}
        plan = plan_from_v2(json.loads(path.read_text(encoding="utf-8")), {"labels": labels}, self.configuration)
        # The file has v2's form; the weights were trained on cases prepared in v1's order of steps.
        return dataclasses.replace(plan, version=1, network=None)


@dataclass(frozen=True)
class NnunetModel(TorchModel[N]):
    """A model folder of nnU-Net, version 1 or 2, one fold of it or several.

    Attributes:
        demo: the weights that `checkpoint: demo` means; None if the recipe ships none.
    """

    demo: Demo | None = None

    def build_for_state(self, state: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        """The UNet++ or plain U-Net that a state dict fits, with one output instead of one per resolution."""
        return build_from_weights(state)

    def adapt_state(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """v1's names for a checkpoint of v2; others as they are."""
        from helpers.networks.nnunet import rename_v2_keys

        return rename_v2_keys(state)

    def check_params(self, params: N) -> None:
        """Opens the model folder, so that one that cannot be used is refused before anything is started."""
        self.folder(params)

    def configuration(self, params: N) -> str:
        """nnU-Net's name of the model to prefer if the data set has several."""
        return self.demo.configuration if self.demo else CONFIGURATION

    def wanted(self, params: N) -> Wanted:
        """Which of a data set's models the run asks for."""
        return Wanted(params.trainer, params.plans, params.configuration, self.configuration(params))

    def complete_params(self, params: N) -> N:
        """Names the folder of the first stage's masks, if the model is the second stage of a cascade."""
        if params.prev_stage_predictions or not self.folder(params).plan.previous_stage:
            return params
        return params.model_copy(update={"prev_stage_predictions": str(self._masks_of(self._first_stage(params)))})

    def previous_params(self, params: N) -> N | None:
        """The run that computes the masks of a cascade's first stage; None if the user named their folder.

        Raises:
            ParameterError: the model of the first stage is not next to this one.
        """
        if not self.folder(params).plan.previous_stage:
            return None
        given = params.prev_stage_predictions
        if given and Path(given).parent.parent != place_output(params.outputs).joinpath(params.recipe):
            return None
        first = self._first_stage(params)
        return first if given in (None, str(self._masks_of(first))) else None

    def _masks_of(self, params: N) -> Path:
        return run_folder(params) / "masks"

    def _first_stage(self, params: N) -> N:
        first = find_first_stage(self.folder(params))
        unset = dict.fromkeys(("trainer", "plans", "configuration", "prev_stage_predictions"))
        changes = {"checkpoint": str(first), "save_softmax": False, "minimum_scores": {}, "precision_study": False}
        changes |= {"mask_format": "own"}
        return params.model_copy(update={**unset, **changes})

    def folder(self, params: N) -> ModelFolder:
        """The chosen folds of the model folder, or the demo's weights in the same form."""
        if params.checkpoint == "demo" and self.demo:
            model = self.demo.open(self.demo_weights)
        else:
            folds, name = params.wanted_folds, params.checkpoint_name
            model = find_model(params.checkpoint, self.wanted(params), folds, name)
        version = params.as_version or model.plan.version
        return dataclasses.replace(model, plan=dataclasses.replace(model.plan, version=version))

    def plan(self, params: N) -> Plan:
        """The plan of the model folder, or the demo's."""
        return self.folder(params).plan

    def activation(self, params: N) -> str | None:
        """The activation still to be applied to the graph's output; None if the graph averages several folds."""
        model = self.folder(params)
        return model.plan.activation if len(model.checkpoints) == 1 else None

    def region_threshold(self, params: N) -> float | None:
        """For regions, a probability of one half, or its logit."""
        plan = self.plan(params)
        if not plan.regions:
            return None
        return 0.0 if plan.activation is None else 0.5

    def cache_key_extras(self, params: N) -> dict[str, object]:
        """The plan, mirror axes and postprocessing of the model folder."""
        model = self.folder(params)
        rules = [dataclasses.asdict(rule) for rule in model.postprocessing]
        plan = dataclasses.asdict(model.plan)
        return {"plan": plan, "trainer": model.trainer, "mirrors": model.mirror_axes, "postprocessing": rules}

    def checkpoint_paths(self, params: N) -> tuple[Path, ...]:
        """One file per fold."""
        return self.folder(params).checkpoints

    def load_trained(self, params: N) -> tuple[torch.nn.Module, LoadReport]:
        """The network of the fold, or one network that averages several as their version of nnU-Net does."""
        from helpers.networks.checkpoint import LoadReport
        from helpers.networks.nnunet import FoldEnsemble

        model = self.folder(params)
        loaded = [self._load_fold(path, model) for path in model.checkpoints]
        if len(loaded) == 1:
            return loaded[0]
        members, reports = zip(*loaded, strict=True)
        ensemble = FoldEnsemble(members, model.plan.activation).eval()
        wrapper = f"{len(reports)} folds, each {reports[0].wrapper}"
        return ensemble, LoadReport(sum(report.n_tensors for report in reports), reports[0].metadata, wrapper)

    def graph_spec(self, params: N) -> GraphSpec:
        """One window of the plan in, class scores out."""
        plan = self.plan(params)
        return GraphSpec.of_run(params, "image", "class", (plan.n_inputs, *plan.patch_size))

    def describe(self, params: N) -> dict[str, str]:
        """The model folder, its trainer, folds and mirror axes."""
        model = self.folder(params)
        described = model.describe()
        if params.mirror_axes is not None and params.mirror_axes != list(model.mirror_axes):
            described["mirrored axes"] = f"{', '.join(map(str, params.mirror_axes)) or 'none'}, by mirror_axes"
        return {} if model.folds == ("demo",) else described

    def _load_fold(self, path: Path, model: ModelFolder) -> tuple[torch.nn.Module, LoadReport]:
        from helpers.networks.checkpoint import load_checkpoint, load_state_dict
        from helpers.networks.nnunet_v2 import own_keys

        plan = model.plan
        if plan.network is not None and not plan.network.is_from_weights:
            network = build_planned(plan.network, plan.n_inputs, plan.n_outputs)
            return network, load_checkpoint(network, path, own_keys)
        layers = layers_of_trainer(model.trainer) if plan.version == 1 else None
        network = build_from_weights(self.adapt_state(load_state_dict(path)[0]), layers)
        check_channels(network, plan)
        return network, load_checkpoint(network, path, self.adapt_state)


def find_first_stage(model: ModelFolder) -> Path:
    """The model folder of a cascade's first stage, next to that of the second one.

    Raises:
        ParameterError: there is none.
    """
    first = str(model.plan.previous_stage)
    root = model.root.resolve()
    if model.plan.version == 2:
        trainer, plans = (*root.name.split("__"), "", "")[:2]
        below, wanted = models_below(root.parent), Wanted(trainer, plans, first)
    else:  # <RESULTS_FOLDER>/nnUNet/<configuration>/<task>/<trainer>__<plans>
        task = root.parent
        below, wanted = models_below(task.parent.parent / first / task.name), Wanted(configuration=first)
    if not any(_is_first_stage(each, wanted) for each in below):
        raise ParameterError(
            "the model is the second stage of a cascade, and its first stage is not next to it",
            received=root.name,
            expected=f"a model folder of {first} of the same trainer and plans",
            remedy="Put the model folder there, or set prev_stage_predictions to the folder of its masks.",
        )
    return choose_model(below, wanted).path


def _is_first_stage(model: TrainedModel, wanted: Wanted) -> bool:
    return all(vars(model)[part] == value for part, value in wanted.named().items())


def single_output(network: GenericUNet | GenericUNetPlusPlus) -> torch.nn.Module:
    """The network in eval mode without the outputs of deep supervision."""
    network.do_ds = False
    return network.eval()


@dataclass(frozen=True)
class NnunetCases(VolumeCases[N]):
    """Cases in the layout of the Decathlon or of nnU-Net.

    Attributes:
        model: whose fold determines the held-out cases.
        task: the data set's folder as the Decathlon names it; None: any.
        write_demo: writes the demo cases of some seeds; None if the recipe ships none.
        grey_window: of `params/windows.yaml`; None: by the normalisation of the model's first channel.
    """

    model: NnunetModel[N]
    task: str | None = None
    write_demo: Callable[[Path, Sequence[int]], list[str]] | None = None
    grey_window: str | None = "mr"

    def check_params(self, params: N) -> None:
        """Refuses an unknown reader, a `split` without a training set, and folds that held out no case in common."""
        check_reader(self.model.plan(params).reader)
        if params.num_parts > 1 and params.cases:
            raise ParameterError("num_parts splits all cases", received="cases as well", remedy="Give one of them.")
        if params.num_parts > 1 and params.part:
            raise ParameterError("num_parts and part both split the cases", remedy="Give one of them.")
        if params.split is None:
            return
        if params.checkpoint == "demo" or params.data_root == "demo":
            raise ParameterError(
                "split applies to a model's own training set", remedy="Set checkpoint and data_root."
            )
        folds = self.model.folder(params).folds
        if len(folds) > 1 or folds[0] == "all":
            raise ParameterError(
                "no case was held out from all of these folds",
                received=", ".join(folds),
                expected="one fold",
                remedy="Set fold, such as fold 0.",
            )

    def data_folder(self, params: N) -> Path:
        """The user's folder, or the data set of that name or number below nnU-Net's variables."""
        return find_data(params.data_root)

    def list_cases(self, root: Path, params: N) -> list[CaseFiles]:
        """The cases below a root; only the held-out ones if `split` asks for them."""
        reference = find_input(params.ref_folder, parameter="ref_folder") if params.ref_folder else None
        only = params.cases or (self.held_out(root, params) if params.split == "validation" else None) or ()
        series = _series_by_number(params.series, self.model.plan(params).channel_names)
        found = {"task": self.task, "ref_folder": reference, "series": series, **self._names(params)}
        cases = nnunet_cases.list_cases(root, only, **found)
        check_channels_of_data(cases, nnunet_cases.channel_names(root, task=self.task), self.model.plan(params))
        part = with_reading(cases, series, params.allow_shear)[params.part_id :: params.num_parts]
        return [self._with_previous(case, params) for case in part]

    def _with_previous(self, case: CaseFiles, params: N) -> CaseFiles:
        """The case with its mask of a cascade's first stage, if that exists."""
        plan = self.model.plan(params)
        if not plan.previous_stage or not params.prev_stage_predictions:
            return case
        folder = Path(params.prev_stage_predictions)
        suffixes = dict.fromkeys((plan.file_ending, ".nii.gz"))
        found = next((path for end in suffixes if (path := folder / f"{case.id}{end}").is_file()), None)
        if found is None and self.model.previous_params(params) is None:
            raise DataError(
                f"prev_stage_predictions has no mask of case {case.id}",
                received=folder,
                expected=f"{case.id}{plan.file_ending}",
            )
        return replace(case, files={**case.files, PREVIOUS: found}) if found else case

    def skipped_files(self, root: Path, params: N) -> list[str]:
        """Folders met twice, and labels of no image."""
        reference = find_input(params.ref_folder, parameter="ref_folder") if params.ref_folder else None
        reader = self.model.plan(params).reader
        return nnunet_cases.skipped_files(root, task=self.task, ref_folder=reference, reader=reader)

    def held_out(self, root: Path, params: N) -> list[str] | None:
        """The fold's held-out ids, if `split` says that the data root is the training set."""
        if params.split is None:
            return None
        ids = nnunet_cases.training_ids(root, task=self.task, **self._names(params))
        model = self.model.folder(params)
        return list(find_held_out(int(model.folds[0]), model.root, root, ids, model.plan.file_ending).ids)

    def _names(self, params: N) -> dict[str, Any]:
        """What tells the model's images from other files, and their channels from ids that end in digits."""
        plan = self.model.plan(params)
        # A picture may hold all channels in one file.
        n_channels = None if plan.reader == PICTURES else len(plan.channels)
        return {"reader": plan.reader, "n_channels": n_channels}

    def read_case(self, files: CaseFiles, params: N) -> Case:
        """Reads and checks one case as the plan's reader does, with the mask of a cascade's first stage."""
        previous = files.files.get(PREVIOUS)
        channels = {role: path for role, path in files.files.items() if role != PREVIOUS}
        plan = self.model.plan(params)
        case = nnunet_cases.read_case(replace(files, files=channels), plan.reader)
        if len(case.image) != len(plan.channels):
            raise DataError(
                f"case {case.id} has other channels than the model",
                received=len(case.image),
                expected=f"{len(plan.channels)}: {', '.join(plan.channel_names)}",
            )
        return case if previous is None else replace(case, previous=read_mask(previous, case))

    def mask_suffix(self, params: N) -> str:
        """The suffix of the images that the model was trained on."""
        plan = self.model.plan(params)
        return mask_suffix(plan.reader, plan.file_ending)

    def write_mask(self, classes: np.ndarray, case: Case, path: Path) -> None:
        """In the format of the suffix, on the case's grid."""
        write_mask(path, classes, case)

    def read_mask(self, path: Path, case: Case) -> np.ndarray:
        """Class indices of a mask on the case's grid."""
        return read_mask(path, case)

    def write_demo_cases(self, root: Path, seeds: Sequence[int]) -> list[str]:
        """Generated cases of known truth."""
        if self.write_demo is None:
            raise ParameterError("this recipe has no demo cases", remedy="Set data_root.")
        return self.write_demo(root, seeds)

    def picture_settings(self, params: N) -> PictureSettings:
        """The first channel."""
        is_ct = self.model.plan(params).channels[0].scheme in ("ct", "ct2")
        return PictureSettings(grey_window=self.grey_window or ("ct_abdomen" if is_ct else "mr"))


@dataclass(frozen=True)
class NnunetPreparation(Preparation[N]):
    """Preparation and restoration as specified by the model's plan."""

    model: NnunetModel[N]

    def check_params(self, params: N) -> None:
        """Refuses a plan whose resampling is not supported."""
        check_resampling(self.model.plan(params))
        check_cascade(self.model.plan(params))

    def prepare_job(self, case: Case, params: N) -> InferenceJob:
        """Windows over the prepared case; scores are resampled to the case's grid, labels postprocessed."""
        return self._job_of(self.prepare(case, params), case, params)

    def check_case(self, case: Case, params: N) -> None:
        """Refuses a case that does not fit in memory at the model's spacing.

        Raises:
            ResourceError: as above.
        """
        sight = sight_of_case(case)
        check_memory_of_resampling(
            case.image.shape, sight.spacing_mm, prepared_shape(case.image, sight, self.model.plan(params))
        )

    def peak_bytes(self, case: Case, params: N) -> int:
        """The larger of what preparing and what the windows take; cropping is not counted on."""
        plan = self.model.plan(params)
        channels, *sizes = prepared_shape(case.image, sight_of_case(case), plan, crops=False)
        stored, prepared = 4 * case.image.size, 4 * channels * math.prod(sizes)
        # The cropped image, the normalised one and two steps of its resampling; then every channel and all in one.
        preparing = 2 * stored + 2 * max(stored, prepared) // channels + 2 * prepared
        windows = WindowPlan(
            plan.patch_size,
            plan.n_outputs,
            batch_size=params.batch_size,
            mirror_axes=tuple(range(len(plan.patch_size))),
            target_shape=case.image.shape[1:],
        )
        inferring = estimate_memory((channels, *sizes), windows, max_in_flight=2).ram_bytes
        truth = 0 if case.truth is None else case.truth.nbytes
        return case.image.nbytes + truth + max(preparing, inferring)

    def prepare(self, case: Case, params: N) -> Prepared:
        """The case cropped, resampled and normalised as specified by the plan.

        Raises:
            ResourceError: it would not fit in memory.
        """
        self.check_case(case, params)
        plan, sight = self.model.plan(params), sight_of_case(case)
        prepared = prepare_case(case.image, sight, plan)
        if not plan.previous_stage:
            return prepared
        if case.previous is None:
            raise StepOrderError(
                f"case {case.id} has no mask of the cascade's first stage",
                expected=str(params.prev_stage_predictions),
                remedy="Run the cells in order, or stages.run_previous_stage first.",
            )
        return add_previous_stage(prepared, case.image, case.previous, sight, plan)

    def example_input(self, case: Case, params: N) -> np.ndarray:
        """The plan's window around the centre of the labelled voxels, or of the case."""
        return window_around_truth(case, self.model.plan(params), self.prepare(case, params))

    def keeps_probabilities(self, params: N) -> bool:
        """With `save_softmax`."""
        return params.save_softmax

    def segment_and_save(self, case: Case, predictor: Predictor, params: N, path: Path) -> np.ndarray:
        """As `segment`; with `save_softmax` the probabilities go next to the mask in the form of their version."""
        if not params.save_softmax:
            return self.segment(case, predictor, params)
        plan = self.model.plan(params)
        prepared = self.prepare(case, params)
        windows, job = self.window_plan(prepared, params), self._job_of(prepared, case, params)
        labels = np.empty(prepared.cropped_shape, np.uint8)
        to_probabilities = ACTIVATIONS[plan.probability if plan.activation is None else None]

        def planes() -> Iterator[np.ndarray]:
            for slab in infer_scores(job.image, predictor, windows):
                labels[slab.start : slab.stop] = slab_to_labels(
                    slab.scores, windows.label_threshold, windows.region_labels
                )
                yield from to_probabilities(slab.scores[None])[0].swapaxes(0, 1)

        stem = path.with_name(path.name.removesuffix(mask_suffix(plan.reader, plan.file_ending)))
        write_softmax(stem, planes(), plan, prepared, case)
        copy_descriptions(self.model.folder(params), path.parent)
        return job.restore(labels)

    def window_plan(self, prepared: Prepared, params: N) -> WindowPlan:
        """How a prepared case becomes labels on its cropped grid."""
        model = self.model.folder(params)
        return WindowPlan(
            model.plan.patch_size,
            model.plan.n_outputs,
            tile_step_size=params.tile_step_size,
            gaussian=params.gaussian,
            mirror_axes=tuple(model.mirror_axes if params.mirror_axes is None else params.mirror_axes),
            activation=self.model.activation(params),
            batch_size=params.batch_size,
            target_shape=prepared.target_shape,
            nearest_axis=prepared.back_axis,
            reuse_constant=params.reuse_constant_windows,
            region_labels=model.plan.regions_class_order,
            threshold=self.model.region_threshold(params),
        )

    def _job_of(self, prepared: Prepared, case: Case, params: N) -> InferenceJob:
        model = self.model.folder(params)

        def restore(labels: np.ndarray) -> np.ndarray:
            classes = restore_labels(labels, prepared)
            if model.postprocessing and params.keep_largest:
                return apply_postprocessing(classes, model.postprocessing, case.require_geometry().spacing_mm_zyx)
            return classes

        return InferenceJob(prepared.image, self.window_plan(prepared, params), restore)


@dataclass(frozen=True)
class NnunetScoring(Scoring[N]):
    """Dice of each foreground label under the model folder's own names, and nnU-Net's `summary.json`.

    Attributes:
        model: whose folder names the labels.
        preparation: for the source's own score.
        title: of the recipe, for `summary.json`.
        task: likewise.
        class_names: of a model folder that names none, the background first.
        renamed_scores: label name, in lower case, to the name of its score, if they differ.
    """

    has_nnunet_metrics = True

    model: NnunetModel[N]
    preparation: NnunetPreparation[N]
    title: str
    task: str
    class_names: tuple[str, ...] = ()
    renamed_scores: Mapping[str, str] = field(default_factory=dict)

    def labels(self, params: N) -> LabelSet:
        """The folder's labels; a plan of v1 may number them only, and then the recipe's names are used."""
        plan = self.model.plan(params)
        names = plan.class_names
        are_numbers = names[1:] == tuple(str(index) for index in range(1, len(names)))
        names = self.class_names if are_numbers and len(names) == len(self.class_names) else names
        return LabelSet(names, regions=plan.regions, ignore=plan.ignore_label)

    def score_names(self, params: N) -> tuple[str, ...]:
        """One score per foreground label."""
        return tuple(self._labels_of_scores(params))

    def score(self, prediction: np.ndarray, truth: np.ndarray, params: N) -> Scores:
        """Dice of each foreground label or region, as nnU-Net reports it, without ignored voxels."""
        pair = without_ignored(prediction, truth, self.labels(params).ignore)
        return dice_of_regions(*pair, self._labels_of_scores(params))

    def structures(self, params: N) -> Mapping[str, Sequence[int]]:
        """The labels or regions under the names of their scores; none for pictures."""
        return {} if self.model.plan(params).reader == PICTURES else self._labels_of_scores(params)

    def calibration(self, case: Case, mask: Path, params: N) -> dict[str, float | None]:
        """ECE of each label or region on the grid that was saved, without ignored voxels."""
        plan, labels = self.model.plan(params), self.labels(params)
        stem = mask.with_name(mask.name.removesuffix(mask_suffix(plan.reader, plan.file_ending)))
        saved = read_softmax(stem, case) if params.save_softmax else None
        if saved is None:
            return {}
        probabilities, truth = saved
        counted = np.full(truth.shape, True) if labels.ignore is None else truth != labels.ignore
        errors = {}
        for place, (name, members) in enumerate(self._labels_of_scores(params).items()):
            channels = [place] if plan.regions else list(members)
            chance = probabilities[channels].astype(np.float32).sum(axis=0)
            errors[name] = calibration_error(chance[counted], np.isin(truth, members)[counted])
        return errors

    def describe_case(self, prediction: np.ndarray, truth: np.ndarray, params: N) -> dict[str, object]:
        """The metrics of the model's version: v1's thirteen of every label, or v2's of each label or region."""
        labels = self.labels(params)
        pair = without_ignored(prediction, truth, labels.ignore)
        if self.model.plan(params).version == 2:
            return dict(counts_of_case(*pair, {key_of_labels(each): each for each in labels.scored.values()}))
        return dict(metrics_of_case(*pair, {str(label): label for label in labels.values}))

    def reports(self, figures: Mapping[str, Mapping], params: N) -> dict[str, object]:
        """`summary.json` as the model's version of nnU-Net writes it."""
        plan = self.model.plan(params)
        if plan.version == 2:
            return {"summary.json": summary_of_v2(figures, plan.file_ending)}
        now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S")
        header = {"name": self.title, "task": self.task, "author": "segmentation deployment cookbook"}
        return {"summary.json": summary_of_cases(figures, **header, timestamp=now)}

    def _labels_of_scores(self, params: N) -> dict[str, Sequence[int]]:
        scored = self.labels(params).scored
        names = [self.renamed_scores.get(name.lower(), name) for name in scored]
        if len(set(names)) < len(names):  # two labels must not share a score: each keeps its own name
            names = list(scored)
        return dict(zip(names, scored.values(), strict=True))


def _series_by_number(series: str, channel_names: Sequence[str]) -> str:
    """The text of `series` with the numbers of channels in place of their names."""
    named = series_by_role(series, channel_names)
    return "; ".join(f"{number:04} = {named[name]}" for number, name in enumerate(channel_names)) if named else series


def copy_descriptions(model: ModelFolder, folder: Path) -> None:
    """Copies plans.json and dataset.json of v2 next to probabilities, where `nnUNetv2_ensemble` looks for them."""
    for name in ("plans.json", "dataset.json"):
        if model.plan.version == 2 and (model.root / name).is_file():
            (folder / name).write_bytes((model.root / name).read_bytes())


def check_channels_of_data(cases: Sequence[CaseFiles], names: Sequence[str], plan: Plan) -> None:
    """Checks the channels of a data set by number and by name.

    Args:
        cases: of the data set, one role per channel.
        names: that the data set's own dataset.json gives its channels; empty if there is none.
        plan: of the model.

    Raises:
        DataError: a case has other channels than the model, or they have other names.
    """
    expected = plan.channel_names or tuple(str(index) for index in range(len(plan.channels)))
    for case in cases:
        # A picture may hold all channels in one file: they are counted once it is read.
        if len(case.files) != len(plan.channels) and plan.reader != PICTURES:
            raise DataError(
                f"case {case.id} has other channels than the model",
                received=f"{len(case.files)}: {', '.join(path.name for path in case.files.values())}",
                expected=f"{len(expected)}: {', '.join(expected)}",
            )
    if names and plan.channel_names and [name.lower() for name in names] != [name.lower() for name in expected]:
        raise DataError(
            "the data set names its channels otherwise than the model",
            received=", ".join(names),
            expected=", ".join(expected),
            remedy="Number the files in the model's order. If only a name differs, change it in dataset.json.",
        )


def mean_rows(rows: Mapping[str, Sequence[Scores]]) -> dict[str, Scores]:
    """The mean of each figure over the cases, by row."""
    return {
        row: {name: mean_of_known([case[name] for case in found]) for name in found[0]} for row, found in rows.items()
    }
