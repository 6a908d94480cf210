"""Runs notebooks with papermill. The run's own record says whether it passed, never the notebook's metadata."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from helpers import recipes
from helpers.cli.failure import name_error, place_log
from helpers.cli.live import cell_observer
from helpers.cli.preflight import check_inputs
from helpers.errors import CookbookError
from helpers.params.paths import HOME_VARIABLE, NOTEBOOKS_FOLDER, PROJECT_ROOT, create_output, place_output
from helpers.params.resolve import anchor_paths
from helpers.report import write_report
from helpers.run.atomic import atomic_path, working_folder
from helpers.run.record import mark_failed, read_run_status
from helpers.run.run import run_folder

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager
    from papermill.engines import NotebookExecutionManager
    from papermill.exceptions import PapermillExecutionError

# `run all` executes these before and after the recipes' notebooks.
FIRST_NOTEBOOKS = ("00_start_here",)
LAST_NOTEBOOKS = ("06_compare_runs", "07_visual_qa")
# Recipes for models of the user, whose notebooks have other names.
_NAMES = {"nnunet": "your_nnunet", "own_model": "your_model"}
# The kernel's log holds only a warning about its local transport and the interrupt that ends it; errors of cells are
# reported by papermill.
_KERNEL_ARGUMENTS = ["--log-level=CRITICAL"]
# Variables that name a folder, which may be relative to the caller's.
_FOLDER_VARIABLES = ("nnUNet_results", "RESULTS_FOLDER", "nnUNet_raw", "nnUNet_raw_data_base")
_LONGEST = 300  # characters of the message of an unexpected error
_ENGINE = "cookbook"
_SAVE_EVERY_S = 1  # papermill saves a notebook twice per cell, of text too
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class NotebookFailedError(CookbookError):
    """A notebook failed, or its run did not pass."""


def notebook_of(recipe_name: str) -> Path:
    """Returns the notebook of a recipe, such as `notebooks/<number>_<recipe>.ipynb`."""
    outside = recipes.recipe_folder(recipe_name)
    if outside is not None:
        return outside / "notebook.ipynb"
    name = _NAMES.get(recipe_name, recipe_name)
    matches = sorted(NOTEBOOKS_FOLDER.glob(f"[0-9][0-9]_{name}.ipynb"))
    if not matches:
        raise NotebookFailedError(f"no notebook for {recipe_name} in {NOTEBOOKS_FOLDER}")
    return matches[0]


def run_shared_notebook(name: str, outputs: str) -> Path:
    """Executes a notebook that belongs to no recipe, into `<outputs>/<name without its number>/notebook.ipynb`.

    Raises:
        NotebookFailedError: a cell failed or the kernel died.
    """
    target = create_output(place_output(outputs) / name.partition("_")[2]) / "notebook.ipynb"
    failure = _execute(NOTEBOOKS_FOLDER / f"{name}.ipynb", target, {"outputs": outputs})
    if failure:
        raise NotebookFailedError(f"{name}: {failure.reason}", remedy=failure.place_log(name))
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
    given = anchor_paths(given, recipe.params_model)
    params = recipe.prepare_params(**given)
    check_inputs(recipe, params)
    folder = create_output(run_folder(params))
    record, notebook = folder / "run.json", folder / "notebook.ipynb"
    before = _Kept(record, notebook)
    with _failed_if_interrupted(record):
        failure = _execute(notebook_of(recipe.name), notebook, given)
    if failure and not before.is_replaced():
        before.restore()
        raise NotebookFailedError(failure.reason, remedy=failure.place_log(recipe_name))
    if failure:
        mark_failed(record, failure.reason)
        _report_failure(folder)
        raise NotebookFailedError(failure.reason, remedy=failure.append_to(folder / "run.log"))
    if not before.is_replaced():
        record.unlink(missing_ok=True)  # it would pass for the record of this run, which recorded nothing
    status, why = read_run_status(record)
    if status != "passed":
        mark_failed(record, "the notebook ended before its last cell")
        _report_failure(folder)
        raise NotebookFailedError(f"the run is {status}", received=why, remedy=f"See {folder / 'run.log'}.")
    return folder


@contextlib.contextmanager
def _failed_if_interrupted(record: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # it would report the cell that was running
        mark_failed(record, str(error) or "interrupted")
        raise


class _Kept:
    """The record and the notebook of an earlier run, which stay unless a new run is started in their folder."""

    def __init__(self, record: Path, notebook: Path):
        self._record, self._notebook = record, notebook
        self._record_bytes, self._notebook_bytes = _read_bytes(record), _read_bytes(notebook)

    def is_replaced(self) -> bool:
        """Whether a run was started since: its record differs in the time of its start."""
        now = _read_bytes(self._record)
        return now is not None and now != self._record_bytes

    def restore(self) -> None:
        """Puts the notebook of the earlier run back; without one, the new one stays, as it shows what happened."""
        if self._record_bytes is not None and self._notebook_bytes is not None:
            with atomic_path(self._notebook) as temporary:
                temporary.write_bytes(self._notebook_bytes)


def _read_bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _report_failure(folder: Path) -> None:
    """Writes the report of a failed run, as far as the run got."""
    if (folder / "run.json").is_file():
        write_report(folder)


@dataclass(frozen=True)
class _Failure:
    """Why a notebook failed.

    Attributes:
        reason: in one line; it names the step.
        details: the traceback, or what the kernel printed; empty if the reason says everything.
    """

    reason: str
    details: str = ""

    def append_to(self, log: Path) -> str | None:
        """Appends the details to a log and says so; None without details."""
        if not self.details:
            return None
        try:
            with log.open("a", encoding="utf-8") as stream:
                stream.write(self.details.rstrip() + "\n")
        except OSError:
            return place_log(log.parent.name, self.details)
        return f"The traceback is in {log}."

    def place_log(self, name: str) -> str | None:
        """Writes the details to a log among the temporary files and says where; None without details."""
        return place_log(name, self.details) if self.details else None


def _execute(source: Path, target: Path, parameters: Mapping[str, object]) -> _Failure | None:
    """Executes a notebook; returns why it failed."""
    with _without_iri_grammar():
        import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    _silence_libraries()
    _register_engine()
    # The kernel's connection file holds its key; in a folder of its own, the next run removes that of a killed one.
    temporary = working_folder(Path(tempfile.gettempdir()))
    with _kernel_environment(), temporary as folder, tempfile.TemporaryFile() as printed:
        try:
            papermill.execute_notebook(
                # papermill fills parameters into braces in a path.
                str(source).replace("{", "{{").replace("}", "}}"),
                str(target).replace("{", "{{").replace("}", "}}"),
                parameters=dict(parameters),
                engine_name=_ENGINE,
                autosave_cell_every=_SAVE_EVERY_S,
                kernel_name="python3",
                cwd=str(source.parent),
                progress_bar=False,
                store_widget_state=False,
                extra_arguments=_KERNEL_ARGUMENTS,
                kernel_manager_class=_kernel_manager(printed, folder / "kernel.json"),
            )
        except PapermillExecutionError as error:
            return _explain_cell(error)
        except DeadKernelError:
            reason = "the notebook's kernel died (killed, out of memory, or crashed in native code)"
            return _Failure(reason, _read_printed(printed))
        except Exception as error:
            # Whatever prevents the notebook from running: no kernel, no folder for its connection, a full disk.
            what = "run" if isinstance(error, OSError) else "start its kernel"
            details = _read_printed(printed) + "".join(traceback.format_exception(error))
            return _Failure(f"the notebook {target.name} cannot {what}: {name_error(error)}", details)
    return None


@contextlib.contextmanager
def _without_iri_grammar() -> Iterator[None]:
    """Lets jsonschema be imported without its check of IRIs, which compiles 38 grammars and is not needed here."""
    name = "rfc3987_syntax"
    hidden = name not in sys.modules
    if hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules[name]


def _register_engine() -> None:
    """Adds an engine to papermill that saves the notebook at most once a second while cells run, and at the end."""
    from papermill.engines import NBClientEngine, papermill_engines

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man: NotebookExecutionManager, kernel_name: str, **given: Any) -> None:
            save = nb_man.save

            def save_if_due(**given: Any) -> None:
                if (nb_man.now() - nb_man.last_save_time).total_seconds() >= _SAVE_EVERY_S:
                    save(**given)

            nb_man.save = save_if_due
            _tell_cells(nb_man)
            try:
                super().execute_managed_notebook(nb_man, kernel_name, **given)
            finally:
                nb_man.save = save

    papermill_engines.register(_ENGINE, Engine)


def _tell_cells(nb_man: NotebookExecutionManager) -> None:
    """Lets `cookbook run` show which section a cell that starts is in."""
    observer = cell_observer()
    if observer is None:
        return
    start, folder = nb_man.cell_start, Path(nb_man.output_path).parent
    sections, section = [], ""
    for cell in nb_man.nb.cells:
        heading = next((line for line in cell.source.splitlines() if line.startswith("## ")), "")
        section = heading.removeprefix("## ") if cell.cell_type == "markdown" and heading else section
        sections.append(section)

    def start_and_tell(cell: Any, cell_index: int | None = None, **given: Any) -> None:
        if cell_index is not None:
            observer(sections[cell_index], cell_index, len(sections), folder)
        start(cell, cell_index, **given)

    nb_man.cell_start = start_and_tell


def _explain_cell(error: PapermillExecutionError) -> _Failure:
    """The error of a cell; one of the project's own is a single line, any other also names the cell's step."""
    report = _ANSI.sub("", "\n".join(error.traceback))
    reason = _ANSI.sub("", " ".join(f"{error.ename}: {error.evalue}".split()))
    if len(report.splitlines()) <= 1:
        return _Failure(reason)
    step = next((line.strip() for line in error.source.splitlines() if "(" in line), "a cell")
    return _Failure(f"{step} failed: {reason if len(reason) <= _LONGEST else reason[:_LONGEST] + '…'}", report)


def _kernel_manager(printed: IO[bytes], connection: Path) -> type[AsyncKernelManager]:
    """A kernel manager whose kernel prints its own errors, such as a crash at its start, into a file.

    Args:
        printed: the file.
        connection: its connection file.
    """
    from jupyter_client.manager import AsyncKernelManager

    class KernelManager(AsyncKernelManager):
        def __init__(self, **given: Any):
            super().__init__(connection_file=str(connection), **given)

        async def _async_launch_kernel(self, kernel_cmd: list[str], **given: Any) -> None:
            await super()._async_launch_kernel(kernel_cmd, **given | {"stderr": printed})

    return KernelManager


def _read_printed(printed: IO[bytes]) -> str:
    printed.seek(0)
    return printed.read().decode(errors="replace")


@contextlib.contextmanager
def _kernel_environment() -> Iterator[None]:
    """Sets the variables that the kernel inherits: it starts in the notebook's folder, not in the caller's."""
    before = dict(os.environ)
    os.environ.setdefault(HOME_VARIABLE, str(PROJECT_ROOT))
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    for name in _FOLDER_VARIABLES:
        if folder := os.environ.get(name):
            os.environ[name] = str(Path.cwd() / Path(folder).expanduser())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _silence_libraries() -> None:
    for name in ("papermill", "traitlets", "ipykernel"):
        logging.getLogger(name).setLevel(logging.ERROR)
