"""What the recipes of the nnU-Net family share: a plan decides how a case is prepared and brought back."""

from __future__ import annotations

import dataclasses
import datetime
import json
from abc import abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from helpers.data.case import Case, CaseFiles
from helpers.data.nnunet import cases as nnunet_cases
from helpers.data.nnunet.cases import raw_folder, split_fold
from helpers.data.nnunet.model_folder import ModelFolder, is_model_folder, open_model_folder, results_folder
from helpers.data.nnunet.plans import Plan, plan_of_v2
from helpers.data.nnunet.postprocess import apply_postprocessing
from helpers.data.nnunet.preprocess import Prepared, prepare_case, restore_labels, window_around_truth
from helpers.data.nnunet.saved_softmax import write_softmax
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import DataError, ParameterError
from helpers.graph.spec import GraphSpec
from helpers.inference import InferenceJob, WindowPlan, infer_scores, slab_to_labels
from helpers.inference.scores import ACTIVATIONS
from helpers.params.model import RunParams
from helpers.params.paths import PROJECT_ROOT, WEIGHTS_FOLDER, find_input
from helpers.recipes.base import Infer, Recipe
from helpers.scoring.nnunet_metrics import metrics_of_case, summary_of_cases

Folds = list[int | str] | None


def find_model(checkpoint: str, configuration: str, folds: Folds) -> ModelFolder:
    """The model that `checkpoint` means, opened; opened once as long as its files stay as they are.

    Args:
        checkpoint: a model folder, a folder of one of its folds, a checkpoint file in one, or the name or number of a
            data set (Task003_Liver, Dataset003_Liver, 3) below `nnUNet_results` or `RESULTS_FOLDER`.
        configuration: such as 3d_fullres, of a model found by its data set.
        folds: which ones; None for all that are there.

    Raises:
        ParameterError: there is no such path, or it is no model folder.
        DataError: the model folder lacks what is asked for.
    """
    found = None if _is_path(checkpoint) else results_folder(checkpoint, configuration)
    path = found or find_input(checkpoint, parameter="checkpoint")
    folder = path if path.is_dir() else path.parent
    if not is_model_folder(folder):
        raise ParameterError(
            "checkpoint is no model folder of nnU-Net",
            received=path,
            expected="the folder with plans.pkl (v1) or plans.json (v2), or a file in one of its folds",
            remedy="The plan says how a case is prepared; a checkpoint without it cannot be used.",
        )
    chosen = folds if folder == path and not _is_fold(path) else [folder.name.removeprefix("fold_")]
    model = _open(folder, None if chosen is None else tuple(chosen), _stamp(folder))
    return model if path == folder else dataclasses.replace(model, checkpoints=(path,))


def find_data(data_root: str) -> Path:
    """The folder that `data_root` means: a path, or a data set's name or number below nnU-Net's variables.

    Raises:
        ParameterError: there is no such path, and the variables are not set.
        DataError: they are set and hold no such data set.
    """
    found = None if _is_path(data_root) else raw_folder(data_root)
    return found or find_input(data_root, parameter="data_root")


def _is_path(text: str) -> bool:
    given = Path(text).expanduser()
    return len(given.parts) > 1 or given.exists() or (PROJECT_ROOT / given).exists()


def _is_fold(folder: Path) -> bool:
    return folder.name == "all" or folder.name.startswith("fold_")


def _stamp(folder: Path) -> tuple:
    """Changes when a file of the model does."""
    root = folder.parent if _is_fold(folder) else folder
    files = [path for pattern in ("*", "fold_*/*", "all/*") for path in sorted(root.glob(pattern)) if path.is_file()]
    return tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files)


@lru_cache(maxsize=8)
def _open(folder: Path, folds: tuple[int | str, ...] | None, stamp: tuple) -> ModelFolder:
    return open_model_folder(folder, folds)


class NnunetParams(RunParams):
    """Parameters of the family on top of the shared ones; what they leave out stands in the plan."""

    NOT_IN_MASKS: ClassVar[frozenset[str]] = frozenset({"split", "ref_folder", "source_cases"})

    fold: int | str = 0
    """Fold of a model folder; all: nnU-Net's model of all cases."""
    folds: list[int | str] | Literal["all"] | None = None
    """Several folds, averaged as their version averages; all: every one that is there."""
    as_version: Literal[1, 2] | None = None
    """Rules of that version of nnU-Net (order of preparation, what is averaged) instead of the model folder's own."""
    step: float = Field(0.5, gt=0, le=1)
    """Distance of windows as a fraction of the window."""
    gaussian: bool = True
    """Whether a window's middle weighs more than its rim."""
    mirror_axes: list[int] | None = None
    """Axes to mirror windows along, averaged; null: as the model was trained."""
    keep_largest: bool = True
    """Whether `postprocessing.json` of the model folder is applied."""
    reuse_constant_windows: bool = False
    """Asks once about windows of one value, such as air; changes no voxel."""
    save_softmax: bool = False
    """Keeps each case's probabilities beside its mask, in the form of the model's version."""
    split: Literal["validation", "all"] | None = None
    """data_root is the model's training set: the fold's held-out cases or all; only held-out ones count in means."""
    ref_folder: str | None = None
    """Labels that lie elsewhere."""
    source_cases: int = Field(2, ge=1)
    """Cases for the source's own score."""

    @field_validator("checkpoint", "data_root", mode="before")
    @classmethod
    def _data_set_by_number(cls, value: object) -> object:
        return str(value) if type(value) is int else value

    @field_validator("folds", mode="before")
    @classmethod
    def _split_folds(cls, value: object) -> object:
        # papermill's -p passes text only: `-p folds 0,1`.
        if not isinstance(value, str) or value == "all":
            return value
        names = [name.strip() for name in value.split(",") if name.strip()]
        return [int(name) if name.isdigit() else name for name in names]

    @property
    def wanted_folds(self) -> list[int | str] | None:
        """The folds to open; None for every one that is there."""
        if self.folds == "all":
            return None
        return [self.fold] if self.folds is None else list(self.folds)


class HeartParams(NnunetParams):
    """Adds the two forms of the heart's model, and the source's own passes."""

    variant: Literal["2d", "3d"] | None = None
    """Form of the model; null: its own. The demo weights are 2-D."""
    passes: Literal["right", "source_python", "source_cpp"] = "right"
    """How the four mirrored passes of a slice become a mask; the source's two programs do it wrongly."""


class NnunetRecipe(Recipe):
    """A recipe whose checkpoint may be a model folder of nnU-Net, version 1 or 2, one fold of it or several.

    Attributes:
        task: the data set's folder as the Decathlon names it.
        configuration: of the demo's plan.
        demo_mirror_axes: mirrors that the demo weights were trained with.
    """

    task: ClassVar[str]
    configuration: ClassVar[str]
    demo_mirror_axes: ClassVar[tuple[int, ...]] = ()
    params_model = NnunetParams
    has_nnunet_metrics = True

    @abstractmethod
    def network_of(self, state: Mapping):
        """The network that a state dict of v1 names fits."""

    def network_for(self, state: Mapping):
        """As `network_of`, with one output instead of one a resolution."""
        network = self.network_of(state)
        network.do_ds = False
        return network.eval()

    def adapt_state(self, state: Mapping) -> dict:
        """v1's names for a checkpoint of v2; others as they are."""
        from helpers.networks.nnunet import rename_v2_keys

        return rename_v2_keys(state)

    def prepare_params(self, **given: object) -> NnunetParams:
        """Resolved parameters; a model folder that cannot be used is refused here, before anything is started."""
        params = super().prepare_params(**given)
        model = self.model(params)
        if params.split and (params.checkpoint == "demo" or params.data_root == "demo"):
            raise ParameterError("split is of a model's own training set", remedy="Set checkpoint and data_root.")
        if params.split and (len(model.folds) > 1 or model.folds[0] == "all"):
            raise ParameterError(
                "no case was held out from all of these folds", received=", ".join(model.folds), expected="one fold"
            )
        return params

    def wanted_configuration(self, params: NnunetParams) -> str:
        """nnU-Net's name of the model to look for below its own variables."""
        return self.configuration

    def model(self, params: NnunetParams) -> ModelFolder:
        """The chosen folds of the model folder, or the demo's weights in the same form."""
        if params.checkpoint == "demo":
            weights = WEIGHTS_FOLDER / f"{self.name}_demo.safetensors"
            model = ModelFolder(
                WEIGHTS_FOLDER, self._demo_plan(), (weights,), ("demo",), self.name, self.demo_mirror_axes, ()
            )
        else:
            model = find_model(params.checkpoint, self.wanted_configuration(params), params.wanted_folds)
        version = params.as_version or model.plan.version
        return dataclasses.replace(model, plan=dataclasses.replace(model.plan, version=version))

    def plan(self, params: NnunetParams) -> Plan:
        """The plan of the model folder, or the demo's."""
        return self.model(params).plan

    def cache_key_extras(self, params: NnunetParams) -> dict[str, object]:
        """What the model folder says beside its weights."""
        model = self.model(params)
        rules = [dataclasses.asdict(rule) for rule in model.postprocessing]
        return {"plan": dataclasses.asdict(model.plan), "mirrors": model.mirror_axes, "postprocessing": rules}

    def checkpoint_paths(self, params: NnunetParams) -> tuple[Path, ...]:
        """One file a fold."""
        return self.model(params).checkpoints

    def trained_network(self, params: NnunetParams):
        """The network of the fold, or one network that averages several as their version of nnU-Net does."""
        from helpers.networks.checkpoint import LoadReport
        from helpers.networks.nnunet import FoldEnsemble

        loaded = [self.load_network(path) for path in self.checkpoint_paths(params)]
        if len(loaded) == 1:
            return loaded[0]
        members, reports = zip(*loaded, strict=True)
        ensemble = FoldEnsemble(members, softmax=self.plan(params).activation == "softmax").eval()
        wrapper = f"{len(reports)} folds, each {reports[0].wrapper}"
        return ensemble, LoadReport(sum(report.n_tensors for report in reports), reports[0].metadata, wrapper)

    def graph_spec(self, params: NnunetParams) -> GraphSpec:
        """One window of the plan in, class scores out."""
        plan = self.plan(params)
        return GraphSpec.of_run(params, "image", "class", (len(plan.channels), *plan.patch_size))

    def data_folder(self, params: NnunetParams) -> Path:
        """The user's folder, or the data set of that name or number below nnU-Net's variables."""
        return find_data(params.data_root)

    def list_cases(self, root: Path, params: NnunetParams) -> list[CaseFiles]:
        """Cases in the Decathlon's or nnU-Net's layout; only held-out ones where `split` asks for them."""
        reference = find_input(params.ref_folder, parameter="ref_folder") if params.ref_folder else None
        only = params.cases or (self.held_out(root, params) if params.split == "validation" else ())
        return nnunet_cases.list_cases(root, only, task=self.task, ref_folder=reference)

    def held_out(self, root: Path, params: NnunetParams) -> list[str] | None:
        """The fold's held-out ids of the training set that the data root is said to be by `split`."""
        if params.split is None:
            return None
        ids = nnunet_cases.training_ids(root, task=self.task)
        return split_fold(ids, int(self.model(params).folds[0]))[1]

    def read_case(self, case: CaseFiles, params: NnunetParams) -> Case:
        """Reads and checks one case."""
        return nnunet_cases.read_case(case)

    def prepare_job(self, case: Case, params: NnunetParams) -> InferenceJob:
        """Windows over the prepared case; scores are resampled to the case's grid and cleaned as the model asks."""
        prepared = prepare_case(case.image, case.geometry.spacing_mm_zyx, self.plan(params))
        return self._job_of(prepared, case, params)

    def _job_of(self, prepared: Prepared, case: Case, params: NnunetParams) -> InferenceJob:
        model = self.model(params)

        def restore(labels: np.ndarray) -> np.ndarray:
            classes = restore_labels(labels, prepared)
            if model.postprocessing and params.keep_largest:
                return apply_postprocessing(classes, model.postprocessing, case.geometry.spacing_mm_zyx)
            return classes

        mirrors = model.mirror_axes if params.mirror_axes is None else params.mirror_axes
        return InferenceJob(prepared.image, self.window_plan(prepared, params, mirror_axes=tuple(mirrors)), restore)

    def segment_and_save(self, case: Case, infer: Infer, params: NnunetParams, path: Path) -> np.ndarray:
        """As `segment`; with `save_softmax` the probabilities go beside the mask in the form of their version."""
        if not params.save_softmax:
            return self.segment(case, infer, params)
        plan = self.plan(params)
        prepared = prepare_case(case.image, case.geometry.spacing_mm_zyx, plan)
        job = self._job_of(prepared, case, params)
        labels = np.empty(prepared.cropped_shape, np.uint8)
        to_probabilities = ACTIVATIONS["softmax" if plan.activation is None else None]

        def planes():
            for slab in infer_scores(job.image, infer, job.plan):
                labels[slab.start : slab.stop] = slab_to_labels(slab.scores)
                yield from to_probabilities(slab.scores[None])[0].swapaxes(0, 1)

        stem = path.with_name(path.name.removesuffix(self.mask_suffix))
        write_softmax(stem, planes(), plan.n_classes, prepared, case.geometry, plan.version)
        return job.restore(labels)

    def window_plan(self, prepared: Prepared, params: NnunetParams, **options: object) -> WindowPlan:
        """How a prepared case becomes labels on its cropped grid; options go over those of plan and run."""
        plan = self.plan(params)
        settings = {"classes": plan.n_classes, "tile_step_size": params.step, "gaussian": params.gaussian}
        settings |= {"activation": self.activation(params), "batch_size": params.batch_size}
        settings |= {"reuse_constant": params.reuse_constant_windows, **options}
        shape, axis = tuple(prepared.cropped_shape), prepared.back_axis
        return WindowPlan(tuple(plan.patch_size), target_shape=shape, nearest_axis=axis, **settings)

    def activation(self, params: NnunetParams) -> str | None:
        """What is left to apply to the graph's answer: nothing where it is the folds' mean already."""
        model = self.model(params)
        return model.plan.activation if len(model.checkpoints) == 1 else None

    def example_input(self, case: Case, params: NnunetParams) -> np.ndarray:
        """The plan's window around the middle of what is marked, or of the case."""
        return window_around_truth(case, self.plan(params))

    def write_mask(self, classes: np.ndarray, case: Case, path: Path) -> None:
        """NIfTI on the case's grid."""
        write_volume(path, Volume(classes[None], case.geometry))

    def read_mask(self, path: Path, case: Case) -> np.ndarray:
        """Class indices of a written mask that lies on the case's grid."""
        mask = read_volume(path)
        differences = mask.geometry.differences_from(case.geometry)
        if differences:
            raise DataError(f"{path.name} lies on another grid than its case", received="; ".join(differences))
        return mask.array[0]

    def describe_case(self, prediction: np.ndarray, truth: np.ndarray) -> dict[str, object]:
        """nnU-Net's thirteen metrics of every label, background included."""
        return metrics_of_case(prediction, truth, {str(label): label for label in range(len(self.class_names))})

    def reports(self, figures: Mapping[str, Mapping], params: NnunetParams) -> dict[str, object]:
        """`summary.json` as nnU-Net v1 writes it."""
        now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S")
        header = {"name": self.title, "task": self.task, "author": "segmentation deployment cookbook"}
        return {"summary.json": summary_of_cases(figures, **header, timestamp=now)}

    def _demo_plan(self) -> Plan:
        path = WEIGHTS_FOLDER / f"{self.name}_demo_plans.json"
        labels = {name: index for index, name in enumerate(self.class_names)}
        plan = plan_of_v2(json.loads(path.read_text(encoding="utf-8")), {"labels": labels}, self.configuration)
        # The file has v2's form; the weights were trained on cases prepared in v1's order of work.
        return dataclasses.replace(plan, version=1)
