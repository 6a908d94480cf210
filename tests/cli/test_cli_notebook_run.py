"""Notebooks run from the command line: the exit code and run.json never claim success for a run that failed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from helpers import cli
from helpers.cli import notebook_run
from helpers.params.paths import PROJECT_ROOT
from helpers.run import read_run_status

START = 'from helpers import stages\nrecipe, run = stages.start_run("unet3d_brats", globals())'
FINISH = "run.finish()"
pytestmark = pytest.mark.notebook


def _write_notebook(path: Path, *cells: str) -> None:
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in ('profile = "demo"', *cells)]
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, path)


@pytest.fixture
def execute(tmp_path, monkeypatch, capfd):
    """Runs cells as the recipe's notebook; returns exit code, standard error (with the kernel's) and run folder."""

    def run_cells(*cells: str, parameters: tuple[str, ...] = ()) -> tuple[int, str, Path]:
        source = tmp_path / "source.ipynb"
        _write_notebook(source, *cells)
        monkeypatch.setattr(notebook_run, "notebook_of", lambda name: source)
        code = cli.main(["run", "unet3d_brats", "-p", "outputs", str(tmp_path / "outputs"), *parameters])
        folders = list((tmp_path / "outputs" / "unet3d_brats").iterdir())
        assert len(folders) == 1
        return code, capfd.readouterr().err, folders[0]

    return run_cells


def _record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def test_a_run_that_reaches_its_last_cell_passes(execute):
    code, err, folder = execute(START, FINISH, parameters=("-p", "batch_size", "2"))
    assert (code, err) == (0, "")
    assert _record(folder)["status"] == "passed"
    assert _record(folder)["params"]["batch_size"] == 2
    assert (folder / "notebook.ipynb").is_file()


def test_the_notebook_is_saved_now_and_then_and_at_the_end(execute, monkeypatch):
    from papermill import engines

    saved, save = [], engines.write_ipynb
    monkeypatch.setattr(engines, "write_ipynb", lambda *given: (saved.append(given), save(*given)))
    monkeypatch.setattr(notebook_run, "_SAVE_EVERY_S", 1_000_000)
    code, _, folder = execute(START, "6 * 7", FINISH)
    assert (code, len(saved)) == (0, 2)  # papermill's own engine saves twice per cell
    cells = nbformat.read(folder / "notebook.ipynb", as_version=4).cells
    assert [cell.metadata.papermill.status for cell in cells] == ["completed"] * 5
    assert "42" in [output.data["text/plain"] for cell in cells for output in cell.outputs if "data" in output]


def test_no_grammar_of_iris_is_compiled_to_run_a_notebook():
    program = (
        "import sys; from helpers.cli import notebook_run\n"
        "with notebook_run._without_iri_grammar(): import jsonschema\n"
        "assert 'lark' not in sys.modules and 'rfc3987_syntax' not in sys.modules\n"
        "import rfc3987_syntax; assert 'lark' in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=PROJECT_ROOT).returncode == 0


@pytest.mark.parametrize(
    "death", ["import os; os._exit(0)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
)
def test_a_run_whose_kernel_dies_fails(execute, death):
    code, err, folder = execute(START, death, FINISH)
    assert code == 1
    assert err.startswith("error: the notebook's kernel died") and err.count("\n") == 1
    assert _record(folder)["status"] == "failed" and "kernel died" in _record(folder)["reason"]


def test_a_failed_gate_ends_the_run_with_its_figure(execute):
    gate = (
        "from helpers.run import Check, StageOutput\n"
        "bad = StageOutput(checks=(Check('Dice WT', False, '0.41, at least 0.85'),))\n"
        "run.perform('score', 'Scores', inputs={}, make=lambda folder: bad)"
    )
    code, err, folder = execute(START, gate, FINISH)
    assert code == 1 and "GateError" in err and "0.41, at least 0.85" in err and err.count("\n") == 1
    assert _record(folder)["status"] == "failed" and "0.41" in _record(folder)["reason"]
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "badge failed" in report and "0.41, at least 0.85" in report


def test_an_error_outside_a_stage_is_recorded_as_the_reason(execute):
    bad = "from helpers.errors import DataError\nraise DataError('case x lacks t2', remedy='Complete it.')"
    code, err, folder = execute(START, bad, FINISH)
    assert code == 1 and "case x lacks t2" in err and err.count("\n") == 1 and "\x1b" not in err
    assert _record(folder)["status"] == "failed" and "case x lacks t2" in _record(folder)["reason"]


def test_a_notebook_that_ends_early_does_not_pass(execute):
    code, err, folder = execute(START)
    assert code == 1 and err.startswith("error: the run is failed") and "run.log" in err
    assert read_run_status(folder / "run.json")[0] == "failed"


def test_the_record_of_an_earlier_run_does_not_count(execute):
    code, _, folder = execute(START, FINISH)
    assert code == 0
    code, err, folder = execute("1 + 1")
    assert code == 1 and "the run is failed" in err
    assert not (folder / "run.json").exists()


def test_a_recipe_without_a_notebook_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(notebook_run, "NOTEBOOKS_FOLDER", tmp_path)
    with pytest.raises(notebook_run.NotebookFailedError, match="no notebook for unet3d_brats"):
        notebook_run.notebook_of("unet3d_brats")


def test_the_notebook_of_a_recipe_is_found_by_its_name():
    assert notebook_run.notebook_of("unet3d_brats").name == "01_unet3d_brats.ipynb"


def test_an_unknown_parameter_passed_to_papermill_stops_the_notebook(tmp_path):
    """papermill accepts unknown parameters; the cell after the parameters refuses them."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    _write_notebook(tmp_path / "source.ipynb", START)
    with pytest.raises(PapermillExecutionError, match="Did you mean 'batch_size'"):
        papermill.execute_notebook(
            str(tmp_path / "source.ipynb"),
            str(tmp_path / "out.ipynb"),
            parameters={"bacth_size": 4, "outputs": str(tmp_path / "outputs")},
            kernel_name="python3",
            progress_bar=False,
        )
    assert not (tmp_path / "outputs").exists()
