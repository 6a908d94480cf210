"""Runs a recipe's notebook with papermill and trusts the run's own record, never the notebook's metadata."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from helpers import recipes
from helpers.errors import CookbookError
from helpers.params.paths import NOTEBOOKS_FOLDER, place_output
from helpers.report import write_report
from helpers.run.record import mark_failed, read_run_status
from helpers.run.run import run_folder

# Executed before and after those of the recipes.
FIRST_NOTEBOOKS = ("00_start_here",)
LAST_NOTEBOOKS = ("06_compare_runs", "07_visual_qa")
# A kernel's own log warns of a transport that never leaves this machine and names the interrupt that ends it; what
# a cell did wrong comes with the cell.
_KERNEL_ARGUMENTS = ["--log-level=CRITICAL"]
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class NotebookFailedError(CookbookError):
    """A notebook ended early, or its run did not pass."""


def notebook_of(recipe_name: str) -> Path:
    """The notebook of a recipe: `notebooks/<number>_<recipe>.ipynb`."""
    matches = sorted(NOTEBOOKS_FOLDER.glob(f"[0-9][0-9]_{recipe_name}.ipynb"))
    if not matches:
        raise NotebookFailedError(f"no notebook for {recipe_name} in {NOTEBOOKS_FOLDER}")
    return matches[0]


def run_shared_notebook(name: str, outputs: str) -> Path:
    """Executes a notebook that belongs to no recipe, as `<outputs>/<name without its number>/notebook.ipynb`.

    Raises:
        NotebookFailedError: a cell failed or the kernel died.
    """
    target = place_output(outputs) / name.partition("_")[2] / "notebook.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    reason = _execute(NOTEBOOKS_FOLDER / f"{name}.ipynb", target, {"outputs": outputs})
    if reason:
        raise NotebookFailedError(reason)
    return target.parent


def run_notebook(recipe_name: str, given: Mapping[str, object]) -> Path:
    """Executes one notebook into its run folder, as `notebook.ipynb`.

    Args:
        recipe_name: the recipe.
        given: parameters, as papermill's -p and -f would pass them.

    Returns:
        The run's folder.

    Raises:
        ParameterError: before anything is started.
        NotebookFailedError: a cell failed, the kernel died, or the run's record does not say "passed".
    """
    recipe = recipes.load(recipe_name)
    params = recipe.prepare_params(**given)
    recipe.checkpoint_path(params)
    folder = run_folder(params)
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "run.json"
    record.unlink(missing_ok=True)
    reason = _execute(notebook_of(recipe_name), folder / "notebook.ipynb", dict(given))
    if reason:
        mark_failed(record, reason)
        _report_failure(folder)
        raise NotebookFailedError(reason)
    status, why = read_run_status(record)
    if status != "passed":
        mark_failed(record, "the notebook ended without its last step")
        _report_failure(folder)
        raise NotebookFailedError(f"the run is {status}", received=why, remedy=f"See {folder / 'run.log'}.")
    return folder


def _report_failure(folder: Path) -> None:
    """A failed run has its report too, as far as it came."""
    if (folder / "run.json").is_file():
        write_report(folder)


def _execute(source: Path, target: Path, parameters: dict) -> str:
    """Executes a notebook; the reason of its failure in one line, or nothing."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    _silence_libraries()
    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            parameters=parameters,
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
