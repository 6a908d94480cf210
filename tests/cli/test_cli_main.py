"""The command line: one line on standard error and an exit code that can be trusted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import cli, recipes
from helpers.cli import commands
from helpers.errors import DataError, ParameterError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def notebooks(monkeypatch, tmp_path):
    """Records what would be run instead of running it."""
    from helpers.cli import notebook_run

    ran: list[tuple[str, dict]] = []
    monkeypatch.setattr(notebook_run, "run_notebook", lambda name, given: ran.append((name, given)) or tmp_path)
    monkeypatch.setattr(notebook_run, "run_shared_notebook", lambda *given: ran.append(given) or tmp_path)
    return ran


def _error_line(capsys) -> str:
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1 and captured.startswith("error: "), captured
    return captured


class TestRun:
    def test_passes_and_says_where(self, notebooks, capsys, tmp_path):
        assert cli.main(["run", "unet3d_brats", "-p", "batch_size", "2", "-p", "cache", "off"]) == 0
        assert notebooks == [("unet3d_brats", {"batch_size": 2, "cache": False})]
        assert capsys.readouterr().out == f"passed: {tmp_path}\n"

    def test_p_beats_f(self, notebooks, tmp_path):
        (tmp_path / "mine.yaml").write_text("batch_size: 2\nstep: 0.25\n")
        assert cli.main(["run", "unet3d_brats", "-f", str(tmp_path / "mine.yaml"), "-p", "batch_size", "4"]) == 0
        assert notebooks[0][1] == {"batch_size": 4, "step": 0.25}

    def test_all_runs_the_first_steps_every_recipe_and_visual_qa(self, notebooks):
        assert cli.main(["run", "all", "-p", "outputs", "elsewhere"]) == 0
        assert [name for name, _ in notebooks] == [
            "00_start_here",
            *recipes.recipe_names(),
            "06_compare_runs",
            "07_visual_qa",
        ]
        assert notebooks[0][1] == notebooks[-1][1] == "elsewhere"

    def test_all_refuses_a_wrong_parameter_before_the_first_notebook(self, notebooks, capsys):
        assert cli.main(["run", "all", "-p", "bacth_size", "2"]) == 2
        assert notebooks == [] and "batch_size" in _error_line(capsys)

    @pytest.mark.parametrize("value", ["", "  "])
    def test_an_empty_value_is_no_default(self, notebooks, capsys, value):
        assert cli.main(["run", "unet3d_brats", "-p", "data_root", value]) == 2
        assert notebooks == [] and "no value" in _error_line(capsys)

    def test_a_value_that_is_no_yaml(self, notebooks, capsys):
        assert cli.main(["run", "unet3d_brats", "-p", "batch_size", "[2, 4"]) == 2
        assert "received [2, 4" in _error_line(capsys)

    def test_names_reach_the_notebook_as_they_were_typed(self, notebooks):
        assert cli.main(["run", "fcn_voc2012", "-p", "cases", "2007_000033"]) == 0
        assert notebooks == [("fcn_voc2012", {"cases": "2007_000033"})]

    def test_a_file_that_is_not_there(self, notebooks, capsys):
        assert cli.main(["run", "unet3d_brats", "-f", "no/such.yaml"]) == 2
        assert "no file or folder no/such.yaml (parameter --file), looked for in " in _error_line(capsys)


class TestRefusals:
    """Nothing is started and no folder is made."""

    @pytest.mark.parametrize(
        ("arguments", "telling"),
        [
            (["unet3d_brat"], "Did you mean 'unet3d_brats'?"),
            (["unet3d_brats", "-p", "bacth_size", "4"], "Did you mean 'batch_size'?"),
            (["unet3d_brats", "-p", "batch_size", "four"], "Correct the value you gave for batch_size."),
            (["unet3d_brats", "-p", "parity_tolerance", "1e-3"], "write 1.0e-3"),
            (["unet3d_brats", "-p", "opset", "19"], "expected 9 to 18"),
            (["unet3d_brats", "-p", "target", "cudo"], "unknown target 'cudo'"),
            (["unet3d_brats", "-p", "profile", "dmeo"], "Did you mean 'demo'?"),
            (
                ["unet3d_brats", "-p", "checkpoint", "no/such.pth"],
                "no file or folder no/such.pth (parameter",
            ),
            (["unet3d_brats", "-p", "cases", "[a, b"], "expected names with commas between them, or a list in YAML"),
            (["unet3d_brats", "-p", "devices", "0,1", "-p", "target", "cpu"], "target cpu has no numbered devices"),
        ],
    )
    def test_one_line_and_two(self, arguments, telling, tmp_path, capsys):
        assert cli.main(["run", *arguments, "-p", "outputs", str(tmp_path / "outputs")]) == 2
        assert telling in _error_line(capsys)
        assert list(tmp_path.iterdir()) == []


class TestHelp:
    def _help(self, capsys, *words: str) -> str:
        with pytest.raises(SystemExit) as caught:
            cli.main([*words, "--help"])
        assert caught.value.code == 0
        return capsys.readouterr().out

    def test_the_first_commands_are_those_to_begin_with(self, capsys):
        lines = self._help(capsys).splitlines()
        names = [line.split()[0] for line in lines if line.startswith("    ")]
        assert names[:2] == ["run", "doctor"] and set(names) == set(commands.COMMANDS)

    @pytest.mark.parametrize("command", ["run", "params", "fetch", "verify", "export", "sweep", "bisect"])
    def test_a_command_for_a_recipe_lists_them(self, command, capsys):
        text = self._help(capsys, command)
        assert all(name in text for name in recipes.recipe_names())
        assert ("'all'" in text) == (command in ("run", "sweep", "bisect"))


class TestMain:
    def _answer(self, monkeypatch, function) -> int:
        monkeypatch.setitem(commands.COMMANDS, "doctor", ("", lambda parser: None, function))
        return cli.main(["doctor"])

    @pytest.mark.parametrize(("error", "code"), [(DataError("case\nx", remedy="Mend."), 1), (ParameterError("p"), 2)])
    def test_an_error_is_its_line_and_its_code(self, monkeypatch, capsys, error, code):
        def fail(options):
            raise error

        assert self._answer(monkeypatch, fail) == code
        assert _error_line(capsys) == f"error: {error.line()}\n"

    def test_an_interrupt_is_130(self, monkeypatch, capsys):
        def fail(options):
            raise KeyboardInterrupt

        assert self._answer(monkeypatch, fail) == 130
        assert "interrupted" in _error_line(capsys)

    def test_an_unforeseen_error_is_not_swallowed(self, monkeypatch):
        def fail(options):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            self._answer(monkeypatch, fail)

    @pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["run"]])
    def test_wrong_usage_is_2(self, arguments, capsys):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
        assert "usage" in capsys.readouterr().err

    def test_doctor_is_strict_on_request(self, monkeypatch, capsys):
        from types import SimpleNamespace

        monkeypatch.setattr("helpers.doctor.examine", lambda: SimpleNamespace(healthy=False))
        assert cli.main(["doctor"]) == 0
        assert cli.main(["doctor", "--strict"]) == 1


def _run_module(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "helpers", *arguments],
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        timeout=120,
    )


def test_the_module_hands_its_code_to_the_shell(tmp_path):
    done = _run_module("run", "unet3d_brats", "-p", "bacth_size", "4", "-p", "outputs", str(tmp_path / "o"))
    assert done.returncode == 2
    assert done.stderr.decode().startswith("error: unknown parameter") and done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("encoding", ["gbk", "ascii"])
def test_a_terminal_without_the_marks_gets_the_report(encoding):
    done = _run_module("doctor", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert b"What each notebook can do here" in done.stdout
