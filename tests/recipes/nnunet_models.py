"""The same weights as model folders of both versions of nnU-Net, and tiny cases, for tests of the two recipes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from helpers import recipes
from helpers.data.geometry import Geometry
from helpers.data.nnunet.plan import ChannelNorm, Plan
from helpers.data.volume import Volume, write_volume
from helpers.inference import as_predictor
from helpers.networks.nnunet import GenericUNet
from helpers.networks.unetpp import GenericUNetPlusPlus
from helpers.params.paths import WEIGHTS_FOLDER
from tests.data.nnunet_folders import v2_names, write_v1, write_v2
from tests.data.nnunet_plan_files import PLAIN, v1_plans_of, v2_plans_of

UNETPP = "helpers.networks.unetpp.GenericUNetPlusPlus"
AXES = (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)


@dataclass(frozen=True)
class Model:
    """A network's weights by fold and its plan, for one recipe."""

    recipe: str
    plan: Plan
    states: list[dict]
    network_class: str = PLAIN

    def write(self, root: Path, version: int, mirrors: tuple[int, ...] | None = None) -> Path:
        """The model folder of that version; returns it."""
        mirrors = tuple(range(len(self.plan.patch_size))) if mirrors is None else mirrors
        plusplus = self.network_class == UNETPP
        if version == 1:
            trainer = "nnUNetPlusPlusTrainerV2" if plusplus else "nnUNetTrainerV2"
            return write_v1(root, self.states, plans=v1_plans_of(self.plan), trainer=trainer)
        # nnU-Net v2 has no UNet++: one ported to it keeps its own names.
        states = self.states if plusplus else [v2_names(state) for state in self.states]
        names = {name: label for label, name in enumerate(self.plan.class_names)}
        dataset = {"channel_names": {"0": "CT"}, "labels": names, "numTraining": 5, "file_ending": ".nii.gz"}
        plans = v2_plans_of(self.plan, self.network_class)
        return write_v2(root, states, mirrors=mirrors, plans=plans, dataset=dataset)


def tiny(kind: str, folds: int = 1) -> Model:
    """A small network of random weights: "liver" (UNet++), "liver_plain", "heart_2d" or "heart_3d"."""
    dims, classes = (2, 2) if kind == "heart_2d" else (3, 3 if "liver" in kind else 2)
    norm = ChannelNorm("ct", False, 20.0, 60.0, -150.0, 200.0) if "liver" in kind else ChannelNorm("zscore")
    plan = Plan(
        version=1,
        configuration="2d" if dims == 2 else "3d_fullres",
        patch_size=(8, 16, 24)[-dims:],
        spacing_mm=(2.0, 1.2, 1.1)[-dims:],
        transpose_forward=(0, 1, 2),
        transpose_backward=(0, 1, 2),
        channels=(norm,),
        class_names=("background", "liver", "lesion")[:classes],
        pools=((2,) * dims,) * 2,
        kernels=((3,) * dims,) * 3,
        n_convolutions=2,
        base_features=4,
        largest_width=12,
    )
    network = GenericUNetPlusPlus if kind == "liver" else GenericUNet
    states = []
    for fold in range(folds):
        torch.manual_seed(fold)
        made = network(1, classes, plan.pools, base_num_features=4, max_num_features=12)
        states.append({key: _spread(key, value.detach()) for key, value in made.state_dict().items()})
    name = "unetpp3d_liver" if "liver" in kind else "nnunet_heart"
    return Model(name, plan, states, UNETPP if kind == "liver" else PLAIN)


def _spread(key: str, value: torch.Tensor) -> torch.Tensor:
    # Outputs that favour no class, with logits so large that their average and one of probabilities differ.
    return 4 * (value - value.mean(1, keepdim=True)) if key.startswith("seg_outputs") else value.clone()


def demo(name: str) -> Model:
    """The demo weights of a recipe."""
    recipe = recipes.load(name)
    plan = recipe.model.plan(recipe.prepare_params())
    state = load_file(WEIGHTS_FOLDER / f"{name}_demo.safetensors")
    return Model(name, plan, [state], UNETPP if name == "unetpp3d_liver" else PLAIN)


def write_task(
    root: Path, name: str, count: int = 1, shape=(8, 18, 26), spacing_mm=(2.5, 1.0, 1.3), suffix: str = ""
) -> Path:
    """A task folder of noise with a rim of zeros and a truth of two labels; returns it."""
    folder = root / ("Task03_Liver" if name == "unetpp3d_liver" else "Task02_Heart")
    for index in range(count):
        random = np.random.default_rng(index)
        image = random.normal(30, 80, shape).round().astype(np.int16)
        image[:1] = image[..., -2:] = 0
        truth = (random.random(shape) < 0.1).astype(np.uint8)
        geometry = Geometry(shape, spacing_mm, (-12.0, 5.0, 40.0), AXES)
        for part, array, end in (("imagesTr", image, suffix), ("labelsTr", truth, "")):
            (folder / part).mkdir(parents=True, exist_ok=True)
            write_volume(folder / part / f"case_{index}{end}.nii.gz", Volume(array, geometry))
    return folder


def mask_of(folder: Path, task: Path, name: str, case: int = 0, **given: object) -> np.ndarray:
    """The mask that a recipe makes of a task's case with the model folder's network in torch."""
    recipe = recipes.load(name)
    params = recipe.prepare_params(profile="cpu", checkpoint=str(folder), data_root=str(task), **given)
    network = recipe.model.load_for_export(params)

    def infer(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(batch)).numpy()

    files = recipe.cases.list_cases(recipe.cases.data_folder(params), params)[case]
    return recipe.preparation.segment(recipe.cases.read_case(files, params), as_predictor(infer), params)


def without_resampling(model: Model, spacing_mm=(2.5, 1.0, 1.3)) -> Model:
    """The same model with a plan of the case's own spacing."""
    plan = replace(model.plan, spacing_mm=spacing_mm[-len(model.plan.patch_size) :])
    return replace(model, plan=plan)
