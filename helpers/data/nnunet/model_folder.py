"""Reads the folder of a trained nnU-Net model of either version: plan, folds, mirror axes and postprocessing.

v1: `plans.pkl` and `fold_0/model_final_checkpoint.model` with its `.model.pkl`. v2: `plans.json`,
`dataset.json` and `fold_0/checkpoint_final.pth`. Pickles are read by the restricted unpicklers only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from helpers.data.nnunet.model_choice import Wanted, choose_model, models_of_dataset
from helpers.data.nnunet.network_plan import PLAIN, RESIDUAL, Layer
from helpers.data.nnunet.plan import Plan, plan_from_v1, plan_from_v2
from helpers.data.nnunet.postprocess import KeepLargest, read_postprocessing
from helpers.data.nnunet.v1_trainers import check_trainer, mirrors_of_trainer, regions_of_trainer
from helpers.errors import DataError

_CHECKPOINTS = {
    1: ("model_final_checkpoint.model", "model_best.model"),
    2: ("checkpoint_final.pth", "checkpoint_best.pth"),
}
_STAGE = 5  # position among the trainer's arguments, which v1 stores with a checkpoint
_CASCADE, _LOWRES = "3d_cascade_fullres", "3d_lowres"
_POSTPROCESSING = ("postprocessing.json", "postprocessing.pkl")


@dataclass(frozen=True)
class ModelFolder:
    """A trained model.

    Attributes:
        checkpoints: one file per fold; the scores of several folds are averaged.
        folds: names of the folds, "0" to "4" or "all".
        trainer: name of the trainer class, which in v1 distinguishes UNet++ from the plain U-Net.
        mirror_axes: spatial axes of the window that the model may be mirrored along.
        postprocessing: rules of postprocessing.json or .pkl, which v2 leaves to the user to apply.
        left_out: folds in the folder that are not used.
    """

    root: Path
    plan: Plan
    checkpoints: tuple[Path, ...]
    folds: tuple[str, ...]
    trainer: str
    mirror_axes: tuple[int, ...]
    postprocessing: tuple[KeepLargest, ...]
    left_out: tuple[str, ...] = ()

    def describe(self) -> dict[str, str]:
        """What was opened, for people."""
        plan, unused = self.plan, f"; not used: {', '.join(self.left_out)}" if self.left_out else ""
        files = sorted({path.name for path in self.checkpoints})
        return {
            "model folder": f"{self.root.name}, nnU-Net v{plan.version}, {plan.configuration}",
            "trainer": self.trainer,
            "folds": f"{', '.join(self.folds)} ({', '.join(files)}){unused}",
            "mirrored axes": ", ".join(map(str, self.mirror_axes)) or "none: trained without mirroring",
        }


def is_model_folder(path: Path) -> bool:
    """Whether a path is a model folder or one of its folds."""
    return path.is_dir() and _root_of(path) is not None


def open_model_folder(
    path: Path, folds: Sequence[int | str] | None = None, checkpoint_name: str | None = None
) -> ModelFolder:
    """Reads a model folder; no weights are loaded.

    Args:
        path: the folder with the plan, or one of its folds.
        folds: folds to use; by default every fold in the folder, and "all" only if there is no other.
        checkpoint_name: file to use in each fold, such as checkpoint_best.pth; by default that of the last epoch, or
            the best one if no fold has it.

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
    there = _folds_there(root)
    file_name = checkpoint_name or _file_name(root, _some_folds(root, there, wanted), version)
    names, left_out = _choose_folds(root, there, wanted, file_name)
    checkpoints = tuple(_fold_path(root, name) / file_name for name in names)
    plan, trainer, mirrors = _read_v1(root, checkpoints[0]) if version == 1 else _read_v2(root, checkpoints[0])
    rules = next((root / name for name in _POSTPROCESSING if (root / name).is_file()), None)
    postprocessing = () if rules is None else read_postprocessing(rules)
    return ModelFolder(root, plan, checkpoints, names, trainer, mirrors, postprocessing, left_out)


def results_folder(dataset: str, configuration: str, environment: Mapping[str, str] | None = None) -> Path | None:
    """Finds a model folder by nnU-Net's variables `nnUNet_results` (v2) and `RESULTS_FOLDER` (v1); None without one.

    Args:
        dataset: name or number: Dataset003_Liver, 3.
        configuration: name of the configuration, such as 3d_fullres.
        environment: variables; by default those of the process.

    Raises:
        DataError: none of several models of that configuration is nnU-Net's default.
    """
    models = [model for model in models_of_dataset(dataset, environment) if model.configuration == configuration]
    return choose_model(models, Wanted(preferred=configuration)).path if models else None


def _root_of(path: Path) -> Path | None:
    for folder in (path, path.parent):
        if (folder / "plans.pkl").is_file() or all((folder / n).is_file() for n in ("plans.json", "dataset.json")):
            return folder
    return None


def _folds_there(root: Path) -> list[str]:
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and _is_fold(path.name))
    return list(dict.fromkeys(name.removeprefix("fold_") for name in names))


def _some_folds(root: Path, there: Sequence[str], wanted: Sequence[int | str] | None) -> list[str]:
    """The named folds; by default all that there are, and "all" only if there is no other."""
    names = [str(name) for name in wanted] if wanted is not None else [n for n in there if n != "all"] or list(there)
    missing = [name for name in names if name not in there]
    if missing or not names:
        raise DataError(
            f"{root} lacks folds", received=list(there) or "none", expected=missing or "fold_0 or fold_all"
        )
    return names


def _choose_folds(
    root: Path, there: Sequence[str], wanted: Sequence[int | str] | None, file_name: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The folds to use, and the others; a fold that is not named counts only if its checkpoint is there."""
    names = _some_folds(root, there, wanted)
    lacking = [name for name in names if not (_fold_path(root, name) / file_name).is_file()]
    if lacking and (wanted is not None or len(lacking) == len(names)):
        raise DataError(
            f"{_fold_path(root, lacking[0])} does not contain a checkpoint",
            received=", ".join(sorted(path.name for path in _fold_path(root, lacking[0]).iterdir())) or "nothing",
            expected=file_name,
        )
    used = tuple(name for name in names if name not in lacking)
    return used, tuple(name for name in there if name not in used)


def _is_fold(name: str) -> bool:
    return name == "all" or (name.startswith("fold_") and (name[5:].isdigit() or name[5:] == "all"))


def _fold_path(root: Path, name: str) -> Path:
    return root / "all" if name == "all" and (root / "all").is_dir() else root / f"fold_{name}"


def _file_name(root: Path, names: Sequence[str], version: int) -> str:
    """nnU-Net's checkpoint of the last epoch, or the best one if no fold has that."""
    final, best = _CHECKPOINTS[version]
    has = {name for name in _CHECKPOINTS[version] for fold in names if (_fold_path(root, fold) / name).is_file()}
    return best if best in has and final not in has else final


def _read_v1(root: Path, checkpoint: Path) -> tuple[Plan, str, tuple[int, ...]]:
    from helpers.networks.safe_pickle import read_plain_pickle

    sidecar = checkpoint.with_name(checkpoint.name + ".pkl")
    about = read_plain_pickle(sidecar) if sidecar.is_file() else {}
    arguments = about.get("init") or ()
    stage = arguments[_STAGE] if len(arguments) > _STAGE else None
    trainer = str(about.get("name") or root.name.split("__")[0])
    check_trainer(trainer)
    plan = plan_from_v1(read_plain_pickle(root / "plans.pkl"), stage)
    if "Cascade" in trainer:
        plan = replace(plan, configuration=_CASCADE, previous_stage=_LOWRES)
    if (root / "dataset.json").is_file():
        plan = _name_classes(plan, _read_json(root / "dataset.json").get("labels", {}))
    plan = regions_of_trainer(plan, trainer)
    return plan, trainer, mirrors_of_trainer(trainer, len(plan.patch_size))


def _name_classes(plan: Plan, labels: Mapping[str, str]) -> Plan:
    """A plan with the labels of a dataset.json of v1, such as {"0": "background", "1": "liver"}."""
    names = [str(labels.get(str(index), name)) for index, name in enumerate(plan.class_names)]
    return replace(plan, class_names=tuple(names))


def _read_v2(root: Path, checkpoint: Path) -> tuple[Plan, str, tuple[int, ...]]:
    from helpers.networks.safe_pickle import read_torch_facts

    content = read_torch_facts(checkpoint)
    content = content if isinstance(content, Mapping) else {}
    configuration = (content.get("init_args") or {}).get("configuration") or root.name.split("__")[-1]
    plan = plan_from_v2(_read_json(root / "plans.json"), _read_json(root / "dataset.json"), str(configuration))
    trainer = str(content.get("trainer_name") or root.name.split("__")[0])
    _check_network(plan, content.get("network_weights"), checkpoint)
    # A checkpoint without the entry is from before mirror axes were stored; nnU-Net does not mirror it either.
    mirrors = content.get("inference_allowed_mirroring_axes") or ()
    return _with_trainer(plan, trainer), trainer, tuple(int(axis) for axis in mirrors)


def _check_network(plan: Plan, weights: object, checkpoint: Path) -> None:
    """Refuses a checkpoint of another network than the plan's; only a residual encoder has a stem."""
    if plan.network is None or plan.network.is_from_weights or not isinstance(weights, Mapping):
        return
    found = RESIDUAL if any("encoder.stem." in str(key) for key in weights) else PLAIN
    if found != plan.network.kind:
        raise DataError(
            f"{checkpoint} is of another network than its plan",
            received=f"weights of a {found}",
            expected=f"weights of a {plan.network.kind}, as in plans.json",
            remedy="Copy plans.json and the checkpoint of the same training run.",
        )


def _with_trainer(plan: Plan, trainer: str) -> Plan:
    """The plan with the network that a trainer of v2 makes of it.

    Raises:
        DataError: the trainer builds a network that no plan describes.
    """
    network = plan.network
    if "Primus" in trainer:
        raise DataError(
            "the trainer's network is not supported",
            received=trainer,
            expected=f"{PLAIN} or {RESIDUAL}",
        )
    if trainer != "nnUNetTrainerBN" or network is None:
        return plan
    norm = Layer(f"BatchNorm{len(plan.patch_size)}d", (("affine", True), ("eps", 1e-5)))
    return replace(plan, network=replace(network, norm=norm))


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read", received=error, remedy="Copy it again.") from None
