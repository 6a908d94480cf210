"""Reads the folder of a trained nnU-Net model of either version: plan, folds, mirror axes and postprocessing.

v1: `plans.pkl` and `fold_0/model_final_checkpoint.model` with its `.model.pkl`. v2: `plans.json`,
`dataset.json` and `fold_0/checkpoint_final.pth`. Pickles are read by the restricted unpicklers only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.data.nnunet.cases import numbered_folders
from helpers.data.nnunet.plan import Plan, plan_from_v1, plan_from_v2
from helpers.data.nnunet.postprocess import KeepLargest, read_postprocessing
from helpers.errors import DataError

_CHECKPOINTS = {
    1: ("model_final_checkpoint.model", "model_best.model"),
    2: ("checkpoint_final.pth", "checkpoint_best.pth"),
}
_STAGE = 5  # position among the trainer's arguments, which v1 stores with a checkpoint


@dataclass(frozen=True)
class ModelFolder:
    """A trained model.

    Attributes:
        checkpoints: one file per fold; the scores of several folds are averaged.
        folds: names of the folds, "0" to "4" or "all".
        trainer: name of the trainer class, which in v1 distinguishes UNet++ from the plain U-Net.
        mirror_axes: spatial axes of the window that the model may be mirrored along.
        postprocessing: rules of postprocessing.json, which v2 leaves to the user to apply.
    """

    root: Path
    plan: Plan
    checkpoints: tuple[Path, ...]
    folds: tuple[str, ...]
    trainer: str
    mirror_axes: tuple[int, ...]
    postprocessing: tuple[KeepLargest, ...]


def is_model_folder(path: Path) -> bool:
    """Whether a path is a model folder or one of its folds."""
    return path.is_dir() and _root_of(path) is not None


def open_model_folder(path: Path, folds: Sequence[int | str] | None = None) -> ModelFolder:
    """Reads a model folder; no weights are loaded.

    Args:
        path: the folder with the plan, or one of its folds.
        folds: folds to use; by default every fold in the folder, and "all" only if there is no other.

    Raises:
        DataError: the plan, a fold or a checkpoint is missing; the message has the expected names.
        CheckpointError: a pickle contains more than plain values.
    """
    root = _root_of(path)
    if root is None:
        raise DataError(
            f"{path} is not an nnU-Net model folder",
            expected="plans.pkl (v1), or plans.json and dataset.json (v2), with fold_0, fold_1, …",
            remedy="Name the folder of the trained model, such as nnUNetTrainer__nnUNetPlans__3d_fullres.",
        )
    version = 1 if (root / "plans.pkl").is_file() else 2
    wanted = [path.name.removeprefix("fold_")] if folds is None and path.resolve() != root.resolve() else folds
    names = _fold_names(root, wanted)
    checkpoints = tuple(_checkpoint(_fold_path(root, name), version) for name in names)
    plan, trainer, mirrors = _read_v1(root, checkpoints[0]) if version == 1 else _read_v2(root, checkpoints[0])
    rules = root / "postprocessing.json"
    postprocessing = read_postprocessing(rules) if rules.is_file() else ()
    return ModelFolder(root, plan, checkpoints, tuple(names), trainer, mirrors, postprocessing)


def results_folder(dataset: str, configuration: str, environment: Mapping[str, str] | None = None) -> Path | None:
    """Finds a model folder by nnU-Net's variables `nnUNet_results` (v2) and `RESULTS_FOLDER` (v1); None without one.

    Args:
        dataset: name or number: Dataset003_Liver, 3.
        configuration: name of the configuration, such as 3d_fullres.
        environment: variables; by default those of the process.
    """
    environment = os.environ if environment is None else environment
    found: list[Path] = []
    if environment.get("nnUNet_results"):
        for folder in numbered_folders(Path(environment["nnUNet_results"]), dataset):
            found += sorted(folder.glob(f"*__{configuration}"))
    if environment.get("RESULTS_FOLDER"):
        for folder in numbered_folders(Path(environment["RESULTS_FOLDER"], "nnUNet", configuration), dataset):
            found += sorted(folder.glob("*__*"))
    return next((path for path in found if is_model_folder(path)), None)


def _root_of(path: Path) -> Path | None:
    for folder in (path, path.parent):
        if (folder / "plans.pkl").is_file() or all((folder / n).is_file() for n in ("plans.json", "dataset.json")):
            return folder
    return None


def _fold_names(root: Path, wanted: Sequence[int | str] | None) -> list[str]:
    there = sorted(p.name.removeprefix("fold_") for p in root.iterdir() if p.is_dir() and _is_fold(p.name))
    trained = [name for name in there if name != "all"] or there
    names = trained if wanted is None else [str(name) for name in wanted]
    missing = [name for name in names if name not in there]
    if missing or not names:
        raise DataError(f"{root} lacks folds", received=there or "none", expected=missing or "fold_0 or fold_all")
    return names


def _is_fold(name: str) -> bool:
    return name == "all" or (name.startswith("fold_") and (name[5:].isdigit() or name[5:] == "all"))


def _fold_path(root: Path, name: str) -> Path:
    return root / "all" if name == "all" and (root / "all").is_dir() else root / f"fold_{name}"


def _checkpoint(fold: Path, version: int) -> Path:
    names = _CHECKPOINTS[version]
    found = next((fold / name for name in names if (fold / name).is_file()), None)
    if found is None:
        raise DataError(f"{fold} does not contain a checkpoint", expected=" or ".join(names))
    return found


def _read_v1(root: Path, checkpoint: Path) -> tuple[Plan, str, tuple[int, ...]]:
    from helpers.networks.safe_pickle import read_plain_pickle

    sidecar = checkpoint.with_name(checkpoint.name + ".pkl")
    about = read_plain_pickle(sidecar) if sidecar.is_file() else {}
    arguments = about.get("init") or ()
    stage = arguments[_STAGE] if len(arguments) > _STAGE else None
    trainer = about.get("name") or root.name.split("__")[0]
    plan = plan_from_v1(read_plain_pickle(root / "plans.pkl"), stage)
    if (root / "dataset.json").is_file():
        plan = _name_classes(plan, _read_json(root / "dataset.json").get("labels", {}))
    return plan, str(trainer), tuple(range(len(plan.patch_size)))


def _name_classes(plan: Plan, labels: Mapping[str, str]) -> Plan:
    """A plan with the labels of a dataset.json of v1, such as {"0": "background", "1": "liver"}."""
    names = [str(labels.get(str(index), name)) for index, name in enumerate(plan.class_names)]
    return replace(plan, class_names=tuple(names))


def _read_v2(root: Path, checkpoint: Path) -> tuple[Plan, str, tuple[int, ...]]:
    from helpers.networks.safe_pickle import read_torch_pickle

    content = read_torch_pickle(checkpoint)
    content = content if isinstance(content, Mapping) else {}
    configuration = (content.get("init_args") or {}).get("configuration") or root.name.split("__")[-1]
    plan = plan_from_v2(_read_json(root / "plans.json"), _read_json(root / "dataset.json"), str(configuration))
    trainer = content.get("trainer_name") or root.name.split("__")[0]
    mirrors = content.get("inference_allowed_mirroring_axes", tuple(range(len(plan.patch_size))))
    return plan, str(trainer), tuple(int(axis) for axis in mirrors or ())


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read", received=error, remedy="Copy it again.") from None
