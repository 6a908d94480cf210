"""Where a model or a data set of nnU-Net lies: a path, or a name below nnU-Net's own variables."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path

from helpers.data.nnunet.cases import raw_folder
from helpers.data.nnunet.model_folder import ModelFolder, is_model_folder, open_model_folder, results_folder
from helpers.errors import ParameterError
from helpers.params.paths import PROJECT_ROOT, find_input

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
