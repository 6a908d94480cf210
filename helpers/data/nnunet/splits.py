"""Which cases of a training set a fold held out: the folder's own `splits_final.json`, or nnU-Net's rule without one.

Sources: MIC-DKFZ/nnUNet v1.7.1 and v2, `do_split` of their trainers.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.data.nnunet.cases import numbered_folders
from helpers.errors import DataError, last_line

_LOG = logging.getLogger("cookbook")
# Of the cross-validation in both versions.
SEED = 12345
N_FOLDS = 5
_FILES = ("splits_final.json", "splits_final.pkl")
_VALIDATED = ("validation", "validation_raw")  # of a trained fold, in v2 and v1


@dataclass(frozen=True)
class HeldOut:
    """The ids that a fold held out, sorted, and where that is written."""

    ids: tuple[str, ...]
    source: str


def find_held_out(
    fold: int,
    model_root: Path,
    data_root: Path,
    ids: Sequence[str],
    suffix: str = ".nii.gz",
    environment: Mapping[str, str] | None = None,
) -> HeldOut:
    """Finds what a fold held out.

    In this order: `splits_final.json` (in v1 `.pkl`) in the model folder, in its parent, in the data set's folder
    below `nnUNet_preprocessed`, or with the data; the cases in the fold's own `validation`; the computed split.

    Args:
        fold: 0, 1, ...
        model_root: the model folder.
        data_root: the training set.
        ids: of the whole training set, for a split that is computed.
        suffix: of the predictions in `validation`.
        environment: environment variables; by default those of the process.

    Raises:
        DataError: a file of splits cannot be read, or there are fewer cases than folds.
    """
    found = _splits_file(model_root, data_root, os.environ if environment is None else environment)
    if found is not None:
        held_out = _from_file(found, fold, ids)
    elif validated := _validated(model_root / f"fold_{fold}", suffix):
        held_out = HeldOut(tuple(validated), f"the predictions in fold_{fold} of the model folder")
    else:
        held_out = HeldOut(tuple(split_fold(ids, fold)[1]), "computed; no splits_final.json was found")
    _LOG.info("held-out cases of fold %d: %s; %s", fold, ", ".join(held_out.ids), held_out.source)
    return held_out


def split_fold(
    ids: Iterable[str], fold: int, n_folds: int = N_FOLDS, seed: int = SEED
) -> tuple[list[str], list[str]]:
    """The training and the held-out ids of one fold, each sorted.

    The split is that of scikit-learn's `KFold(5, shuffle=True, random_state=12345)` over the sorted ids, as in both
    versions of nnU-Net: a shuffle by numpy's legacy generator, cut into five parts whose sizes differ by at most one.

    Args:
        ids: ids of all training cases; a subset gives a different split.
        fold: 0 to `n_folds` - 1.

    Raises:
        DataError: the fold does not exist, or there are fewer cases than folds.

    >>> split_fold(["la_003", "la_004", "la_005", "la_007", "la_009", "la_010"], fold=0)
    (['la_003', 'la_004', 'la_005', 'la_009'], ['la_007', 'la_010'])
    """
    ordered = sorted(ids)
    if not 0 <= fold < n_folds or len(ordered) < n_folds:
        raise DataError(
            "the data set cannot be split",
            received=f"fold {fold} of {len(ordered)} cases",
            expected=f"fold 0 to {n_folds - 1} of at least {n_folds} cases",
        )
    indices = np.arange(len(ordered))
    np.random.RandomState(seed).shuffle(indices)
    held_out = set(np.array_split(indices, n_folds)[fold].tolist())
    training = [name for index, name in enumerate(ordered) if index not in held_out]
    return training, [name for index, name in enumerate(ordered) if index in held_out]


def _splits_file(model_root: Path, data_root: Path, environment: Mapping[str, str]) -> Path | None:
    folders = [model_root, model_root.parent]
    if environment.get("nnUNet_preprocessed"):
        preprocessed = Path(environment["nnUNet_preprocessed"])
        for name in (_data_set_name(model_root), model_root.parent.name, data_root.name):
            folders += numbered_folders(preprocessed, name) if name else []
    folders.append(data_root)
    return next((folder / name for folder in folders for name in _FILES if (folder / name).is_file()), None)


def _data_set_name(model_root: Path) -> str:
    try:
        return str(json.loads((model_root / "plans.json").read_text(encoding="utf-8")).get("dataset_name") or "")
    except (OSError, ValueError):
        return ""


def _from_file(path: Path, fold: int, ids: Sequence[str]) -> HeldOut:
    splits = _read_splits(path)
    if fold < len(splits):
        return HeldOut(tuple(sorted(splits[fold])), str(path))
    # A fold that the file does not have is trained on four fifths of the cases, drawn with a seed of its own.
    ordered = sorted(ids)
    trained = np.random.RandomState(SEED + fold).choice(len(ordered), int(len(ordered) * 0.8), replace=False)
    left = tuple(name for index, name in enumerate(ordered) if index not in trained)
    return HeldOut(left, f"{path} has {len(splits)} folds; nnU-Net's random split for fold {fold}")


def _read_splits(path: Path) -> list[list[str]]:
    """The held-out ids of each fold."""
    try:
        if path.suffix == ".pkl":
            from helpers.networks.safe_pickle import read_plain_pickle

            content = read_plain_pickle(path, text=True)
        else:
            content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, list):
            raise TypeError(f"a {type(content).__name__}")
        splits = [[str(name) for name in split["val"]] for split in content]
    except (OSError, ValueError, OverflowError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not a list of splits",
            received=last_line(error),
            expected='[{"train": [ids], "val": [ids]}, …]',
        ) from None
    return splits


def _validated(fold: Path, suffix: str) -> list[str]:
    folders = [fold / name for name in _VALIDATED if (fold / name).is_dir()]
    return sorted({path.name.removesuffix(suffix) for folder in folders for path in folder.glob(f"*{suffix}")})
