"""Inputs are searched in the working folder and the project; a missing one names both."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.errors import ParameterError
from helpers.params.paths import PROJECT_ROOT, SOURCE_ROOT, _choose_root, find_input, place_output


def _refusal(path: str) -> str:
    with pytest.raises(ParameterError) as caught:
        find_input(path, parameter="data_root")
    return caught.value.line()


def test_inputs_are_found_from_any_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_input("requirements.txt", parameter="--file") == PROJECT_ROOT / "requirements.txt"
    (tmp_path / "requirements.txt").write_text("", encoding="utf-8")
    assert find_input("requirements.txt", parameter="--file") == tmp_path / "requirements.txt"


def test_a_missing_relative_path_names_the_searched_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _refusal("no/such") == (
        f"no file or folder no/such (parameter data_root) in {tmp_path} or {PROJECT_ROOT}. Check the path."
    )


def test_a_missing_absolute_path_is_searched_nowhere_else(monkeypatch):
    monkeypatch.chdir(PROJECT_ROOT)
    assert _refusal("/no/such") == ("no file or folder /no/such (parameter data_root). Check the path.")


def test_outputs_are_below_the_project_unless_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place_output("outputs") == PROJECT_ROOT / "outputs"
    assert place_output(str(tmp_path / "x")) == tmp_path / "x"


@pytest.mark.parametrize(
    ("environment", "installed", "expected"),
    [({}, False, SOURCE_ROOT), ({}, True, Path.cwd()), ({"COOKBOOK_HOME": "/srv/runs"}, True, Path("/srv/runs"))],
)
def test_relative_paths_start_at_the_home_the_clone_or_the_working_folder(environment, installed, expected):
    assert _choose_root(environment, installed=installed) == expected
