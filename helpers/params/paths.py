"""The folders of the project, in a clone and in an installed package."""

from __future__ import annotations

import os
import tempfile
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
        ParameterError: the file is in neither place, or the path cannot be read.
    """
    given = expand_home(path, parameter)
    for candidate in (given, PROJECT_ROOT / given):
        if _exists(candidate, parameter):
            return candidate.resolve()
    places = [] if given.is_absolute() else list(dict.fromkeys((str(Path.cwd()), str(PROJECT_ROOT))))
    searched = f" in {' or '.join(places)}" if places else ""
    raise ParameterError(f"no file or folder {path} (parameter {parameter}){searched}", remedy=remedy)


def anchor_input(path: str, *, parameter: str) -> str:
    """Makes the path of an existing file or folder absolute, so that it means the same in every process.

    A text that names no file is returned unchanged: it may be a name, such as that of a data set.

    Raises:
        ParameterError: the path cannot be read.
    """
    given = expand_home(path, parameter)
    if not given.is_absolute():
        for folder in (Path.cwd(), PROJECT_ROOT):
            if _exists(folder / given, parameter):
                return str(folder / given)
    return path


def anchor_output(path: str) -> str:
    """Makes an output folder that was given on a command line absolute.

    It is below the caller's folder, or below COOKBOOK_HOME if that is set.
    """
    home = os.environ.get(HOME_VARIABLE)
    base = Path(home).expanduser().resolve() if home else Path.cwd()
    return str(base / expand_home(path, "outputs"))


def place_output(path: str) -> Path:
    """Returns an output folder: absolute as given, relative below the project's root.

    Raises:
        ParameterError: the path starts with the home folder of an unknown user.
    """
    return (PROJECT_ROOT / expand_home(path, "outputs")).resolve()


def create_output(folder: Path, parameter: str = "outputs") -> Path:
    """Creates a folder to write to, unless it exists, and returns it.

    Raises:
        ParameterError: the folder cannot be created, or nothing can be written to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot create {folder}: {_reason(error)}"
        raise ParameterError(problem, remedy=f"Set `{parameter}` to a writable folder.") from None
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        problem = f"cannot write to {folder}: {_reason(error)}"
        raise ParameterError(problem, remedy=f"Set `{parameter}` to a writable folder.") from None
    return folder


def check_output_file(path: str, parameter: str) -> Path:
    """Returns the path of a file to write, and creates its folder.

    Raises:
        ParameterError: it is a folder, or its folder cannot be created or written to.
    """
    file = expand_home(path, parameter)
    if file.is_dir():
        raise ParameterError(f"{path} is a folder (parameter {parameter})", remedy="Name a file in it.")
    create_output(file.parent, parameter)
    return file


def expand_home(path: str, parameter: str) -> Path:
    """The path with `~` replaced by the home folder.

    Raises:
        ParameterError: it starts with the home folder of an unknown user, or has a null character.
    """
    if "\0" in path:
        raise ParameterError(f"the path in {parameter} contains a null character", received=repr(path))
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ParameterError(
            f"no home folder for {Path(path).parts[0]} (parameter {parameter})",
            received=path,
            remedy="Write the path in full; a folder whose name starts with ~ as ./~name.",
        ) from None


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _exists(path: Path, parameter: str) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise ParameterError(f"cannot read {path} (parameter {parameter}): {_reason(error)}") from None
