"""What the recipes of the nnU-Net family share: a plan decides how a case is prepared and brought back."""

from __future__ import annotations

import dataclasses
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from helpers.data.case import Case, CaseFiles
from helpers.data.nnunet import cases as nnunet_cases
from helpers.data.nnunet.model_folder import ModelFolder, is_model_folder, open_model_folder
from helpers.data.nnunet.plan import Plan
from helpers.data.nnunet.plans import plan_of_v2
from helpers.data.nnunet.postprocess import apply_postprocessing
from helpers.data.nnunet.preprocess import Prepared, prepare_case, restore_labels
from helpers.data.volume import Volume, read_volume, write_volume
from helpers.errors import DataError, ParameterError
from helpers.graph.spec import GraphSpec
from helpers.inference import InferenceJob, WindowPlan
from helpers.params.model import RunParams
from helpers.params.paths import WEIGHTS_FOLDER, find_input
from helpers.recipes.base import Recipe


class NnunetParams(RunParams):
    """Parameters of the family on top of the shared ones; what they leave out stands in the plan."""

    fold: int | str = 0
    step: float = Field(0.5, gt=0, le=1)
    gaussian: bool = True
    mirror_axes: list[int] | None = None
    keep_largest: bool = True
    ref_folder: str | None = None
    source_cases: int = Field(2, ge=1)


class NnunetRecipe(Recipe):
    """A recipe whose checkpoint may be a model folder of nnU-Net, version 1 or 2.

    Attributes:
        task: the data set's folder as the Decathlon names it.
        configuration: of the demo's plan.
        demo_mirror_axes: mirrors that the demo weights were trained with.
    """

    task: ClassVar[str]
    configuration: ClassVar[str]
    demo_mirror_axes: ClassVar[tuple[int, ...]] = ()
    params_model = NnunetParams

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
        from helpers.networks.nnunet_v2_names import is_v2, to_v1_names

        return to_v1_names(state) if is_v2(state) else dict(state)

    def checkpoint_path(self, params: NnunetParams) -> Path:
        """The demo weights, a checkpoint file in its model folder, or the chosen fold's."""
        folder = self._folder(params)
        return folder.checkpoints[0] if folder else WEIGHTS_FOLDER / f"{self.name}_demo.safetensors"

    def plan(self, params: NnunetParams) -> Plan:
        """The plan of the model folder, or the demo's."""
        folder = self._folder(params)
        return folder.plan if folder else self._demo_plan()

    def graph_spec(self, params: NnunetParams) -> GraphSpec:
        """One window of the plan in, class scores out."""
        plan = self.plan(params)
        return GraphSpec.of_run(params, "image", "class", (len(plan.channels), *plan.patch_size))

    def list_cases(self, root: Path, params: NnunetParams) -> list[CaseFiles]:
        """Cases in the Decathlon's or nnU-Net's layout."""
        reference = find_input(params.ref_folder, parameter="ref_folder") if params.ref_folder else None
        return nnunet_cases.list_cases(root, params.cases, task=self.task, ref_folder=reference)

    def read_case(self, case: CaseFiles, params: NnunetParams) -> Case:
        """Reads and checks one case."""
        return nnunet_cases.read_case(case)

    def prepare_job(self, case: Case, params: NnunetParams) -> InferenceJob:
        """Windows over the prepared case; scores are resampled to the case's grid and cleaned as the model asks."""
        plan = self.plan(params)
        prepared = prepare_case(case.image, case.geometry.spacing_mm_zyx, plan)
        folder = self._folder(params)

        def restore(labels: np.ndarray) -> np.ndarray:
            classes = restore_labels(labels, prepared)
            if folder and folder.postprocessing and params.keep_largest:
                return apply_postprocessing(classes, folder.postprocessing, case.geometry.spacing_mm_zyx)
            return classes

        windows = self.window_plan(prepared, plan, params, mirror_axes=tuple(self._mirrors(params)))
        return InferenceJob(prepared.image, windows, restore)

    def window_plan(self, prepared: Prepared, plan: Plan, params: NnunetParams, **options: object) -> WindowPlan:
        """How a prepared case becomes labels on its cropped grid; options go over those of plan and run."""
        settings = {"classes": plan.n_classes, "step": params.step, "gaussian": params.gaussian}
        settings |= {"activation": plan.activation, "batch_size": params.batch_size, **options}
        shape, axis = tuple(prepared.cropped_shape), prepared.back_axis
        return WindowPlan(tuple(plan.patch_size), target_shape=shape, nearest_axis=axis, **settings)

    def example_input(self, case: Case, params: NnunetParams) -> np.ndarray:
        """The plan's window around the middle of what is marked, or of the case."""
        plan = self.plan(params)
        prepared = prepare_case(case.image, case.geometry.spacing_mm_zyx, plan)
        window = (1, *plan.patch_size) if len(plan.patch_size) == 2 else plan.patch_size
        middle = _middle_of_truth(case, prepared, plan)
        sides = zip(middle, window, prepared.image.shape[1:], strict=True)
        starts = [max(0, min(round(centre) - side // 2, size - side)) for centre, side, size in sides]
        box = tuple(slice(start, start + side) for start, side in zip(starts, window, strict=True))
        sample = prepared.image[(slice(None), *box)]
        missing = [(0, side - size) for side, size in zip(window, sample.shape[1:], strict=True)]
        sample = np.pad(sample, [(0, 0), *missing])
        return np.ascontiguousarray(sample[:, 0] if len(plan.patch_size) == 2 else sample)

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

    def _mirrors(self, params: NnunetParams) -> Sequence[int]:
        if params.mirror_axes is not None:
            return params.mirror_axes
        folder = self._folder(params)
        return folder.mirror_axes if folder else self.demo_mirror_axes

    def _folder(self, params: NnunetParams) -> ModelFolder | None:
        if params.checkpoint == "demo":
            return None
        path = find_input(params.checkpoint, parameter="checkpoint")
        folder = path if path.is_dir() else path.parent
        if not is_model_folder(folder):
            raise ParameterError(
                "checkpoint is no model folder of nnU-Net",
                received=path,
                expected="the folder with plans.pkl (v1) or plans.json (v2), or a file in one of its folds",
                remedy="The plan says how a case is prepared; a checkpoint without it cannot be used.",
            )
        return open_model_folder(folder, [params.fold] if folder == path and "fold" not in path.name else None)

    def _demo_plan(self) -> Plan:
        path = WEIGHTS_FOLDER / f"{self.name}_demo_plans.json"
        labels = {name: index for index, name in enumerate(self.class_names)}
        plan = plan_of_v2(json.loads(path.read_text(encoding="utf-8")), {"labels": labels}, self.configuration)
        # The file has v2's form; the weights were trained on cases prepared in v1's order of work.
        return dataclasses.replace(plan, version=1)


def _middle_of_truth(case: Case, prepared: Prepared, plan: Plan) -> list[float]:
    """Centre of what is marked, in voxels of the prepared image; the image's own centre where nothing is."""
    sizes = prepared.image.shape[1:]
    inside = None if case.truth is None else case.truth[prepared.box].transpose(plan.transpose_forward)
    if inside is None or not inside.any():
        return [size / 2 for size in sizes]
    return [
        float(np.median(hit)) * size / cropped
        for hit, size, cropped in zip(np.nonzero(inside), sizes, prepared.cropped_shape, strict=True)
    ]
