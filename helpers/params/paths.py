"""Where the project's own files lie, whatever the working directory."""

from __future__ import annotations

from pathlib import Path

from helpers.errors import ParameterError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
PARAMS_FOLDER = PROJECT_ROOT / "params"
NOTEBOOKS_FOLDER = PROJECT_ROOT / "notebooks"
WEIGHTS_FOLDER = PROJECT_ROOT / "helpers" / "weights"


def find_input(path: str, *, parameter: str) -> Path:
    """An existing file or folder: as given, else below the project's root.

    A notebook's working directory is its own folder in JupyterLab and the caller's under papermill, so a
    relative path is looked for in both places.

    Raises:
        ParameterError: it is in neither.
    """
    given = Path(path).expanduser()
    for candidate in (given, PROJECT_ROOT / given):
        if candidate.exists():
            return candidate.resolve()
    problem = f"no file or folder {path} (parameter {parameter})"
    places = dict.fromkeys((str(Path.cwd()), str(PROJECT_ROOT)))
    if given.is_absolute():
        raise ParameterError(problem, remedy=f"Give an absolute path or one from {' or '.join(places)}.")
    looked = f", looked for in {' and '.join(places)}"
    raise ParameterError(problem + looked, remedy="Give an absolute path or one from there.")


def place_output(path: str) -> Path:
    """An output folder: absolute as given, relative below the project's root."""
    return (PROJECT_ROOT / Path(path).expanduser()).resolve()
