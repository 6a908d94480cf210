"""A relative path means the caller's file, whatever the folder of the process that reads it, by every way to run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nbformat
import pytest

from helpers import cli, recipes
from helpers.cli import notebook_run
from helpers.errors import ParameterError
from helpers.params import paths
from helpers.params.paths import SOURCE_ROOT, WEIGHTS_FOLDER, anchor_output, find_input
from helpers.run import Run

START = """
from helpers import stages
recipe, run = stages.start_run("unet_carvana", globals())
run.record.update(files=[str(path) for path in recipe.model.checkpoint_paths(run.params)])
run.finish()
"""
NAME = "w/net.safetensors"


@pytest.fixture
def two_files(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """Two folders with a file of the same name; the second one counts as the project's."""
    folders = tmp_path / "caller", tmp_path / "project"
    for folder in folders:
        (folder / "w").mkdir(parents=True)
        shutil.copy(WEIGHTS_FOLDER / "unet_carvana_demo.safetensors", folder / NAME)
    monkeypatch.setattr(paths, "PROJECT_ROOT", folders[1])
    monkeypatch.setattr(notebook_run, "PROJECT_ROOT", folders[1])
    monkeypatch.delenv("COOKBOOK_HOME", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(SOURCE_ROOT))
    return folders


@pytest.fixture
def notebook(tmp_path, monkeypatch) -> Path:
    """A notebook that records which weights it would read."""
    path = tmp_path / "notebooks" / "02_unet_carvana.ipynb"
    path.parent.mkdir()
    content = nbformat.v4.new_notebook()
    content.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    content.cells = [nbformat.v4.new_code_cell(source) for source in ("checkpoint = None", START)]
    content.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(content, path)
    monkeypatch.setattr(notebook_run, "notebook_of", lambda name: path)
    return path


def _files_of_the_run(outputs: Path) -> list[str]:
    (record,) = outputs.glob("unet_carvana/*/run.json")
    content = json.loads(record.read_text(encoding="utf-8"))
    assert content["status"] == "passed"
    assert content["params"]["checkpoint"] == content["files"][0]
    return content["files"]


@pytest.mark.notebook
@pytest.mark.parametrize("caller", [0, 1])
@pytest.mark.parametrize("way", ["-p", "-f"])
def test_run_reads_the_callers_file(two_files, notebook, monkeypatch, tmp_path, caller, way):
    monkeypatch.chdir(two_files[caller])
    (tmp_path / "mine.yaml").write_text(
        f"checkpoint: {NAME}\n", encoding="utf-8"
    )  # relative to the caller, not to this file
    given = ["-p", "checkpoint", NAME] if way == "-p" else ["-f", str(tmp_path / "mine.yaml")]
    assert cli.main(["run", "unet_carvana", *given, "-p", "outputs", "out"]) == 0
    assert _files_of_the_run(two_files[caller] / "out") == [str(two_files[caller] / NAME)]


@pytest.mark.notebook
@pytest.mark.parametrize("caller", [0, 1])
def test_papermill_reads_the_callers_file(two_files, notebook, monkeypatch, tmp_path, caller):
    import papermill

    monkeypatch.chdir(two_files[caller])
    monkeypatch.setenv("COOKBOOK_HOME", str(two_files[1]))
    papermill.execute_notebook(
        str(notebook),
        str(tmp_path / "OUT.ipynb"),
        parameters={"checkpoint": NAME, "outputs": str(tmp_path / "out")},
        kernel_name="python3",
        progress_bar=False,
    )
    assert _files_of_the_run(tmp_path / "out") == [str(two_files[caller] / NAME)]


@pytest.mark.parametrize("caller", [0, 1])
def test_a_run_records_the_callers_file(two_files, monkeypatch, tmp_path, caller):
    """As `export`, `sweep` and `bisect` start it; `rerun` reads the record from any other folder."""
    monkeypatch.chdir(two_files[caller])
    recipe = recipes.load("unet_carvana")
    run = Run(recipe.prepare_params(checkpoint=NAME, outputs=str(tmp_path / "out")))
    monkeypatch.chdir(two_files[1 - caller])
    assert recipe.model.checkpoint_paths(run.params) == (two_files[caller] / NAME,)
    assert run.record.content["params"]["checkpoint"] == str(two_files[caller] / NAME)


def test_two_files_of_one_name_are_two_runs(two_files, monkeypatch):
    hashes = []
    for folder in two_files:
        monkeypatch.chdir(folder)
        hashes.append(recipes.load("unet_carvana").prepare_params(checkpoint=NAME).short_hash())
    assert hashes[0] != hashes[1]


def test_a_file_that_only_the_project_has_is_found_from_elsewhere(two_files, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    params = recipes.load("unet_carvana").prepare_params(checkpoint=NAME)
    assert params.checkpoint == str(two_files[1] / NAME)


def test_demo_stays_demo_even_beside_a_folder_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    params = recipes.load("unet_carvana").prepare_params()
    assert (params.checkpoint, params.data_root) == ("demo", "demo")


@pytest.mark.parametrize("home", [None, "home"])
def test_outputs_are_below_the_caller_or_the_home(tmp_path, monkeypatch, home):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COOKBOOK_HOME", raising=False)
    if home:
        monkeypatch.setenv("COOKBOOK_HOME", str(tmp_path / home))
    assert anchor_output("out") == str(tmp_path / (home or "") / "out")
    assert anchor_output("/abs") == "/abs"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("~nouser_of_this_name/x", "no home folder for ~nouser_of_this_name"),
        ("a\0b", "contains a null character"),
        ("x" * 5000, "File name too long"),
        ("none/such", "no file or folder none/such"),
    ],
)
def test_a_path_that_cannot_be_used_is_one_line(path, expected):
    with pytest.raises(ParameterError, match=expected):
        find_input(path, parameter="data_root")


def test_a_relative_variable_of_nnunet_means_the_callers_folder(tmp_path, monkeypatch):
    name = "nnUNet_raw"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, "raw")
    with notebook_run._kernel_environment():
        assert os.environ[name] == str(tmp_path / "raw")
    assert os.environ[name] == "raw"
