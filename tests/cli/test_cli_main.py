"""The command line: errors are one line on standard error, with an exit code that can be trusted."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import helpers
from helpers import cli, recipes
from helpers.cli import commands
from helpers.cli.command import Command
from helpers.errors import DataError, ParameterError
from helpers.report import write_report

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def notebooks(monkeypatch, tmp_path):
    """Records which notebooks would run instead of running them."""
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
    def test_a_passed_run_prints_its_folder(self, notebooks, capsys, tmp_path):
        assert cli.main(["run", "unet3d_brats", "-p", "batch_size", "2", "-p", "cache", "off"]) == 0
        assert notebooks == [("unet3d_brats", {"batch_size": 2, "cache": False})]
        assert capsys.readouterr().out == f"passed: {tmp_path}\n"

    def test_a_parameter_overrides_the_file(self, notebooks, tmp_path):
        (tmp_path / "mine.yaml").write_text("batch_size: 2\ntile_step_size: 0.25\n", encoding="utf-8")
        assert cli.main(["run", "unet3d_brats", "-f", str(tmp_path / "mine.yaml"), "-p", "batch_size", "4"]) == 0
        assert notebooks[0][1] == {"batch_size": 4, "tile_step_size": 0.25}

    def test_a_parameter_overrides_its_old_name_in_the_file(self, notebooks, tmp_path):
        (tmp_path / "old.yaml").write_text("step: 0.25\n", encoding="utf-8")
        file = ["-f", str(tmp_path / "old.yaml")]
        for name in ("step", "tile_step_size"):
            assert cli.main(["run", "unet3d_brats", *file, "-p", name, "0.75"]) == 0
            assert notebooks.pop()[1] == {"tile_step_size": 0.75}

    def test_the_old_name_of_a_text_parameter_takes_text(self, notebooks):
        assert cli.main(["run", "unet_carvana", "-p", "keep_precise", "0123"]) == 0
        assert notebooks[0][1] == {"fp32_layers": "0123"}

    def test_all_runs_the_shared_notebooks_around_those_of_the_recipes(self, notebooks, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert cli.main(["run", "all", "-p", "outputs", "elsewhere"]) == 0
        assert [name for name, _ in notebooks] == [
            "00_start_here",
            *recipes.recipe_names(),
            "06_compare_runs",
            "07_visual_qa",
        ]
        assert notebooks[0][1] == notebooks[-1][1] == str(tmp_path / "elsewhere")

    def test_all_refuses_an_unknown_parameter_before_the_first_notebook(self, notebooks, capsys):
        assert cli.main(["run", "all", "-p", "bacth_size", "2"]) == 2
        assert notebooks == [] and "batch_size" in _error_line(capsys)

    @pytest.mark.parametrize("value", ["", "  "])
    def test_an_empty_value_is_refused(self, notebooks, capsys, value):
        assert cli.main(["run", "unet3d_brats", "-p", "data_root", value]) == 2
        assert notebooks == [] and "parameter data_root has no value" in _error_line(capsys)

    def test_a_value_that_is_not_yaml_is_refused(self, notebooks, capsys):
        assert cli.main(["run", "unet3d_brats", "-p", "batch_size", "[2, 4"]) == 2
        assert "received [2, 4" in _error_line(capsys)

    def test_a_name_that_looks_like_a_number_stays_text(self, notebooks):
        assert cli.main(["run", "fcn_voc2012", "-p", "cases", "2007_000033"]) == 0
        assert notebooks == [("fcn_voc2012", {"cases": "2007_000033"})]

    def test_a_missing_parameter_file_is_refused(self, notebooks, capsys):
        assert cli.main(["run", "unet3d_brats", "-f", "no/such.yaml"]) == 2
        assert "no file or folder no/such.yaml (parameter --file) in " in _error_line(capsys)


class TestRefusals:
    """Nothing is started and no folder is created."""

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["unet3d_brat"], "Did you mean 'unet3d_brats'?"),
            (["unet3d_brats", "-p", "bacth_size", "4"], "Did you mean 'batch_size'?"),
            (["unet3d_brats", "-p", "batch_size", "four"], "Correct the value given for batch_size."),
            (["unet3d_brats", "-p", "parity_tolerance", "1e-3"], "write 1.0e-3"),
            (["unet3d_brats", "-p", "opset", "19"], "expected 9 to 18"),
            (["unet3d_brats", "-p", "target", "cudo"], "unknown target 'cudo'"),
            (["unet3d_brats", "-p", "profile", "dmeo"], "Did you mean 'demo'?"),
            (
                ["unet3d_brats", "-p", "checkpoint", "no/such.pth"],
                "no file or folder no/such.pth (parameter",
            ),
            (["unet3d_brats", "-p", "cases", "[a, b"], "expected names separated by commas, or a YAML list"),
            (["unet3d_brats", "-p", "devices", "0,1", "-p", "target", "cpu"], "target cpu has no numbered devices"),
        ],
    )
    def test_the_error_is_one_line_and_the_exit_code_2(self, arguments, expected, tmp_path, capsys):
        assert cli.main(["run", *arguments, "-p", "outputs", str(tmp_path / "outputs")]) == 2
        assert expected in _error_line(capsys)
        assert list(tmp_path.iterdir()) == []

    def test_an_outputs_folder_that_cannot_be_created(self, tmp_path, capsys):
        (tmp_path / "file").touch()
        assert cli.main(["run", "unet3d_brats", "-p", "outputs", str(tmp_path / "file")]) == 2
        assert "Set `outputs` to a writable folder." in _error_line(capsys)


class TestHelp:
    def _help(self, capsys, *words: str) -> str:
        with pytest.raises(SystemExit) as caught:
            cli.main([*words, "--help"])
        assert caught.value.code == 0
        return capsys.readouterr().out

    def test_every_command_is_listed_and_the_first_ones_come_first(self, capsys):
        text = self._help(capsys)
        names = re.findall(r"^  ([a-z][a-z-]+) {2,}", text, flags=re.MULTILINE)
        assert text.startswith("usage: cookbook ")
        assert names[:3] == ["run", "predict", "doctor"] and names == list(commands.COMMANDS)

    def test_summaries_fit_a_terminal_of_80_columns(self):
        assert all(len(f"  {name:<12}{command.summary}") < 80 for name, command in commands.COMMANDS.items())

    @pytest.mark.parametrize("command", ["run", "params", "fetch", "verify", "export", "sweep", "bisect"])
    def test_a_command_for_recipes_lists_them(self, command, capsys):
        text = self._help(capsys, command)
        assert all(name in text for name in recipes.recipe_names())
        assert ("'all'" in text) == (command in ("run", "sweep", "bisect"))


class TestMistypedWords:
    def _usage_error(self, capsys, *words: str) -> str:
        with pytest.raises(SystemExit) as caught:
            cli.main(words)
        assert caught.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    def test_a_mistyped_command(self, capsys):
        assert self._usage_error(capsys, "rn") == "cookbook: error: unknown command 'rn'. Did you mean 'run'?"

    def test_a_command_like_no_other(self, capsys):
        assert self._usage_error(capsys, "xyz") == "cookbook: error: unknown command 'xyz'. See --help."

    def test_a_mistyped_option(self, capsys):
        error = self._usage_error(capsys, "report", "outputs/x", "--anonymize")
        assert error == "cookbook report: error: unknown argument '--anonymize'. Did you mean '--anonymise'?"


class TestCompletion:
    def _script(self, capsys, shell: str) -> str:
        assert cli.main(["completion", shell]) == 0
        return capsys.readouterr().out

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_commands_options_and_recipes_are_completed(self, shell, capsys):
        script = self._script(capsys, shell)
        assert all(word in script for word in (*commands.COMMANDS, *recipes.recipe_names(), "anonymise"))

    def test_bash_completes_a_recipe(self, capsys):
        script = self._script(capsys, "bash")
        asked = "\nCOMP_WORDS=(cookbook run unet3); COMP_CWORD=2; _shtab_cookbook; echo ${COMPREPLY[@]}"
        done = subprocess.run(["bash", "-c", script + asked], capture_output=True, text=True, timeout=60)
        assert done.stdout.split() == ["unet3d_brats"], done.stderr


class TestMain:
    def _run(self, monkeypatch, function) -> int:
        monkeypatch.setitem(commands.COMMANDS, "doctor", Command("", function, lambda parser: None))
        return cli.main(["doctor"])

    @pytest.mark.parametrize(("error", "code"), [(DataError("a\nx", remedy="Fix it."), 1), (ParameterError("p"), 2)])
    def test_an_expected_error_prints_its_line_and_sets_the_exit_code(self, monkeypatch, capsys, error, code):
        def fail(options):
            raise error

        assert self._run(monkeypatch, fail) == code
        assert _error_line(capsys) == f"error: {error.line()}\n"

    def test_an_interrupt_while_the_command_is_imported_is_one_line(self):
        program = (
            "import sys\n"
            "class Interrupt:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            "        if name == 'helpers.cli.commands':\n"
            "            raise KeyboardInterrupt\n"
            "sys.meta_path.insert(0, Interrupt())\n"
            "import helpers.__main__\n"
            "sys.exit(helpers.__main__.run())\n"
        )
        root = Path(helpers.__file__).parents[1]
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", cwd=root)
        assert (done.returncode, done.stderr) == (130, "error: interrupted\n")

    def test_an_interrupt_exits_with_130(self, monkeypatch, capsys):
        def fail(options):
            raise KeyboardInterrupt

        assert self._run(monkeypatch, fail) == 130
        assert "interrupted" in _error_line(capsys)

    def test_an_unexpected_error_is_one_line_and_its_traceback_is_in_the_log(self, monkeypatch, capsys):
        def fail(options):
            raise ZeroDivisionError("division\nby zero")

        assert self._run(monkeypatch, fail) == 1
        line = _error_line(capsys)
        assert "error: cookbook doctor failed: ZeroDivisionError: division by zero. The traceback is in /" in line
        log = Path(line.split()[-1].rstrip("."))
        assert "ZeroDivisionError" in log.read_text(encoding="utf-8") and "in fail" in log.read_text(encoding="utf-8")
        log.unlink()

    def test_the_step_and_the_file_are_named_even_if_no_log_can_be_written(self, monkeypatch, capsys, tmp_path):
        def fail(options):
            with monkeypatch.context() as patch:
                patch.setattr("helpers.report.page.build_page", refuse_to_build)
                write_report(tmp_path / "run")

        def refuse_to_build(run, anonymise):
            raise RuntimeError("no way")

        monkeypatch.setattr("helpers.report.record.read_record", lambda folder: {"params": {}, "stages": {}})

        def refuse(**_):
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr("tempfile.mkstemp", refuse)
        assert self._run(monkeypatch, fail) == 1
        line = _error_line(capsys)
        assert f"RuntimeError: no way (file {tmp_path / 'run'})" in line
        assert "cannot be written to a log (Read-only file system)" in line

    @pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["run"]])
    def test_invalid_usage_exits_with_2(self, arguments, capsys):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
        assert "usage" in capsys.readouterr().err

    def test_doctor_fails_on_missing_packages_only_if_strict(self, monkeypatch, capsys):
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


def test_version():
    assert _run_module("--version").stdout.decode().strip() == f"cookbook {helpers.__version__}"


def test_help_costs_little():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert _run_module("--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5  # seconds of CPU


def test_the_module_passes_the_exit_code_to_the_shell(tmp_path):
    done = _run_module("run", "unet3d_brats", "-p", "bacth_size", "4", "-p", "outputs", str(tmp_path / "o"))
    assert done.returncode == 2
    assert done.stderr.decode().startswith("error: unknown parameter") and done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("encoding", ["gbk", "ascii"])
def test_a_terminal_that_cannot_encode_the_marks_gets_the_report(encoding):
    done = _run_module("doctor", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert b"Targets that each notebook can use here" in done.stdout
