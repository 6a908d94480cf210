"""The folders of the project, in a clone and in an installed package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from helpers.errors import ParameterError

HOME_VARIABLE = "COOKBOOK_HOME"

PACKAGE_FOLDER = Path(__file__).resolve().parents[1]
SOURCE_ROOT = PACKAGE_FOLDER.parent  # the root of a clone, or the folder that an installed package is in
_SHIPPED = PACKAGE_FOLDER / "_project"  # only an installed package has it: see pyproject.toml
IS_INSTALLED = _SHIPPED.is_dir()


def _choose_root(environment: Mapping[str, str], *, installed: bool) -> Path:
    """The folder that relative inputs and outputs start from: COOKBOOK_HOME, the clone, or the working folder."""
    if home := environment.get(HOME_VARIABLE):
        return Path(home).expanduser().resolve()
    return Path.cwd() if installed else SOURCE_ROOT


PROJECT_ROOT = _choose_root(os.environ, installed=IS_INSTALLED)
PARAMS_FOLDER = (_SHIPPED if IS_INSTALLED else SOURCE_ROOT) / "params"
NOTEBOOKS_FOLDER = (_SHIPPED if IS_INSTALLED else SOURCE_ROOT) / "notebooks"
WEIGHTS_FOLDER = PACKAGE_FOLDER / "weights"


def find_input(path: str, *, parameter: str, remedy: str = "Check the path.") -> Path:
    """Returns an existing file or folder, relative to the working folder or to the project's root.

    In JupyterLab a notebook's working folder is its own; under papermill it is the caller's.

    Raises:
        ParameterError: the file is in neither place.
    """
    given = Path(path).expanduser()
    for candidate in (given, PROJECT_ROOT / given):
        if candidate.exists():
            return candidate.resolve()
    places = [] if given.is_absolute() else list(dict.fromkeys((str(Path.cwd()), str(PROJECT_ROOT))))
    searched = f" in {' or '.join(places)}" if places else ""
    raise ParameterError(f"no file or folder {path} (parameter {parameter}){searched}", remedy=remedy)


def place_output(path: str) -> Path:
    """Returns an output folder: absolute as given, relative below the project's root."""
    return (PROJECT_ROOT / Path(path).expanduser()).resolve()


def create_output(folder: Path) -> Path:
    """Creates a folder below the outputs, unless it exists, and returns it.

    Raises:
        ParameterError: the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot create {folder}: {error.strerror}"
        raise ParameterError(problem, remedy="Set `outputs` to a writable folder.") from None
    return folder
