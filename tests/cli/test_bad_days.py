"""Commands on other people's bad days: one line, the promised exit code, and what was there stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from helpers import cli
from helpers.cli import notebook_run

ROOT = Path(__file__).resolve().parents[2]
START = 'from helpers import stages\nrecipe, run = stages.start_run("unet_carvana", globals())\nrun.finish()'
pytestmark = pytest.mark.notebook


@pytest.fixture
def run_cells(tmp_path, monkeypatch, capfd):
    """Runs cells as the recipe's notebook below a folder; returns the exit code and the error line."""

    def run(*cells: str, outputs: Path | None = None) -> tuple[int, str]:
        source = tmp_path / "source.ipynb"
        content = nbformat.v4.new_notebook()
        content.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
        content.cells = [nbformat.v4.new_code_cell(text) for text in ("outputs = None", *cells)]
        content.cells[0].metadata["tags"] = ["parameters"]
        nbformat.write(content, source)
        monkeypatch.setattr(notebook_run, "notebook_of", lambda name: source)
        code = cli.main(["run", "unet_carvana", "-p", "outputs", str(outputs or tmp_path / "outputs")])
        error = capfd.readouterr().err
        assert error.count("\n") == (0 if code == 0 else 1), error
        return code, error

    return run


def _folder(tmp_path: Path) -> Path:
    (folder,) = (tmp_path / "outputs" / "unet_carvana").iterdir()
    return folder


@pytest.mark.parametrize("braces", ["{data_root}", "{x} {0} {{", "a}b"])
def test_braces_in_a_path_are_braces(run_cells, tmp_path, braces):
    assert run_cells(START, outputs=tmp_path / braces)[0] == 0
    assert len(list((tmp_path / braces).glob("unet_carvana/demo-*/notebook.ipynb"))) == 1


def test_a_kernel_that_cannot_start_leaves_the_passed_run_alone(run_cells, tmp_path, monkeypatch):
    assert run_cells(START)[0] == 0
    before = {path: path.read_bytes() for path in _folder(tmp_path).iterdir() if path.is_file()}
    broken = tmp_path / "kernels" / "kernels" / "python3"
    broken.mkdir(parents=True)
    text = "import sys\nsys.exit(chr(10).join(map(str, range(50))))"
    spec = {"argv": [sys.executable, "-c", text], "display_name": "broken", "language": "python"}
    (broken / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "kernels"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    monkeypatch.setattr("jupyter_core.paths.ENV_JUPYTER_PATH", [])
    monkeypatch.setattr("jupyter_client.kernelspec.KernelSpecManager.ensure_native_kernel", False)
    code, error = run_cells(START)
    assert code == 1 and "notebook.ipynb cannot start its kernel" in error and "traceback is in" in error
    log = Path(error.split()[-1].rstrip("."))
    assert "\n49\n" in log.read_text(encoding="utf-8")
    log.unlink()
    assert {path: path.read_bytes() for path in before} == before


def test_an_unexpected_error_in_a_cell_names_the_step_and_its_traceback_is_in_the_runs_log(run_cells, tmp_path):
    start = START.replace("run.finish()", "")
    code, error = run_cells(start, "def measure(x):\n    return 1 / x\nmeasure(0)", "run.finish()")
    log = _folder(tmp_path) / "run.log"
    assert code == 1 and "ZeroDivisionError: division by zero" in error and str(log) in error
    assert "measure(" in error and "return 1 / x" in log.read_text(encoding="utf-8")
    assert "\x1b" not in log.read_text(encoding="utf-8")


def test_an_unexpected_error_before_the_run_is_one_line_as_well(run_cells, tmp_path):
    code, error = run_cells("import no_such_module_here")
    assert code == 1 and "ModuleNotFoundError" in error and "traceback is in" in error
    Path(error.split()[-1].rstrip(".")).unlink()


def _command(*words: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "helpers", *words], stderr=subprocess.PIPE, cwd=ROOT, timeout=120, **options
    )


def test_a_reader_that_ends_early_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    done = _command("params", "unet_carvana", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_standard_output_is_one_line():
    with open("/dev/full", "wb") as full:
        done = _command("params", "unet_carvana", stdout=full)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and b"No space left" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "unet_carvana", "--to", "FILE/x"],
        ["report", "RUN", "--to", "FILE/x.html"],
        ["rerun", "RUN", "--outputs", "FILE"],
        ["fetch", "unet_carvana", "--to", "FILE"],
        *([command, "unet_carvana", "-p", "outputs", "FILE"] for command in ("run", "sweep", "bisect", "export")),
    ],
    ids=lambda words: f"{words[0]} {words[-2]}",
)
def test_an_output_that_cannot_be_written_is_refused_before_any_work(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    (tmp_path / "RUN").mkdir()
    record = {"params": {"recipe": "unet_carvana"}, "environment": {}, "stages": {}, "status": "passed"}
    (tmp_path / "RUN" / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and ": cannot create " in error and "writable folder" in error
    assert {path.name for path in tmp_path.iterdir()} == {"FILE", "RUN"}


@pytest.mark.parametrize("name", ["grey_window", "cases"])
def test_a_parameter_that_needs_the_data_is_refused_before_a_kernel_starts(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr(notebook_run, "_execute", lambda *given: pytest.fail("a kernel was started"))
    outputs = tmp_path / "outputs"
    assert cli.main(["run", "unet_carvana", "-p", name, "zzz", "-p", "outputs", str(outputs)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "'zzz'" in error and not (outputs / "unet_carvana").exists()
