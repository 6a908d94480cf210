"""Runs notebooks with papermill. The run's own record says whether it passed, never the notebook's metadata."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from helpers import recipes
from helpers.errors import CookbookError
from helpers.params.paths import HOME_VARIABLE, NOTEBOOKS_FOLDER, PROJECT_ROOT, create_output, place_output
from helpers.report import write_report
from helpers.run.record import mark_failed, read_run_status
from helpers.run.run import run_folder

# `run all` executes these before and after the recipes' notebooks.
FIRST_NOTEBOOKS = ("00_start_here",)
LAST_NOTEBOOKS = ("06_compare_runs", "07_visual_qa")
# The kernel's log holds only a warning about its local transport and the interrupt that ends it; errors of cells are
# reported by papermill.
_KERNEL_ARGUMENTS = ["--log-level=CRITICAL"]
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class NotebookFailedError(CookbookError):
    """A notebook failed, or its run did not pass."""


def notebook_of(recipe_name: str) -> Path:
    """Returns the notebook of a recipe, `notebooks/<number>_<recipe>.ipynb`."""
    matches = sorted(NOTEBOOKS_FOLDER.glob(f"[0-9][0-9]_{recipe_name}.ipynb"))
    if not matches:
        raise NotebookFailedError(f"no notebook for {recipe_name} in {NOTEBOOKS_FOLDER}")
    return matches[0]


def run_shared_notebook(name: str, outputs: str) -> Path:
    """Executes a notebook that belongs to no recipe, into `<outputs>/<name without its number>/notebook.ipynb`.

    Raises:
        NotebookFailedError: a cell failed or the kernel died.
    """
    target = create_output(place_output(outputs) / name.partition("_")[2]) / "notebook.ipynb"
    reason = _execute(NOTEBOOKS_FOLDER / f"{name}.ipynb", target, {"outputs": outputs})
    if reason:
        raise NotebookFailedError(reason)
    return target.parent


def run_notebook(recipe_name: str, given: Mapping[str, object]) -> Path:
    """Executes a recipe's notebook and saves it in the run's folder as `notebook.ipynb`.

    Args:
        recipe_name: a name that `helpers.recipes.load` knows.
        given: the parameters, as papermill would pass them.

    Returns:
        The run's folder.

    Raises:
        ParameterError: a parameter is invalid; nothing was started.
        NotebookFailedError: a cell failed, the kernel died, or the run's record is not "passed".
    """
    recipe = recipes.load(recipe_name)
    params = recipe.prepare_params(**given)
    recipe.model.checkpoint_paths(params)
    folder = create_output(run_folder(params))
    record = folder / "run.json"
    record.unlink(missing_ok=True)
    reason = _execute(notebook_of(recipe_name), folder / "notebook.ipynb", given)
    if reason:
        mark_failed(record, reason)
        _report_failure(folder)
        raise NotebookFailedError(reason)
    status, why = read_run_status(record)
    if status != "passed":
        mark_failed(record, "the notebook ended before its last cell")
        _report_failure(folder)
        raise NotebookFailedError(f"the run is {status}", received=why, remedy=f"See {folder / 'run.log'}.")
    return folder


def _report_failure(folder: Path) -> None:
    """Writes the report of a failed run, as far as the run got."""
    if (folder / "run.json").is_file():
        write_report(folder)


def _execute(source: Path, target: Path, parameters: Mapping[str, object]) -> str:
    """Executes a notebook; returns why it failed in one line, or an empty text."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    _silence_libraries()
    os.environ.setdefault(HOME_VARIABLE, str(PROJECT_ROOT))  # the kernel starts in the notebook's folder, not here
    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            parameters=dict(parameters),
            kernel_name="python3",
            cwd=str(source.parent),
            progress_bar=False,
            store_widget_state=False,
            extra_arguments=_KERNEL_ARGUMENTS,
        )
    except PapermillExecutionError as error:
        return _ANSI.sub("", " ".join(f"{error.ename}: {error.evalue}".split()))
    except DeadKernelError:
        return "the notebook's kernel died (killed, out of memory, or crashed in native code)"
    return ""


def _silence_libraries() -> None:
    for name in ("papermill", "traitlets", "ipykernel"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
