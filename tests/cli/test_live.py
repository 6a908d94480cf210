"""What `cookbook run` shows while it works: nothing without a terminal, lines with -v, else a moving line."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest

from helpers import cli
from helpers.cli import live, notebook_run
from helpers.run import RunRecord
from tests.cli.test_cli_notebook_run import _write_notebook

START = 'from helpers import stages\nrecipe, run = stages.start_run("unet3d_brats", globals())'


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def tell(section: str, index: int = 0, folder: Path = Path("nowhere")) -> None:
    live.cell_observer()(section, index, 4, folder)


def test_without_a_terminal_nothing_is_shown_unless_asked_for():
    for verbose, quiet in ((False, False), (False, True)):
        with live.show_cells(io.StringIO(), verbose=verbose, quiet=quiet) as shown:
            assert not shown and live.cell_observer() is None
    with live.show_cells(Terminal(), verbose=False, quiet=True) as shown:
        assert not shown


def test_verbose_writes_one_line_per_section_without_control_characters():
    stream = io.StringIO()
    with live.show_cells(stream, verbose=True, quiet=False) as shown:
        for section in ("3 Data", "3 Data", "8 Compile"):
            tell(section)
    lines = stream.getvalue().splitlines()
    assert shown and [line.partition(" ")[2] for line in lines] == ["3 Data", "8 Compile"]
    assert "\r" not in stream.getvalue() and "\x1b" not in stream.getvalue()
    assert live.cell_observer() is None


def test_a_terminal_shows_the_section_the_bar_and_the_cases_and_is_left_clean(tmp_path):
    stream = Terminal()
    record = RunRecord(tmp_path / "run.json", {"params": {}, "environment": {}})
    record.set_stage("data", {"status": "made", "values": {"cases": ["a", "b", "c"]}})
    record.set_stage("infer/a", {"status": "made", "seconds": 2.0})
    with live.show_cells(stream, verbose=False, quiet=False):
        tell("10 Inference", 2, tmp_path)
    record.end("passed")
    shown = stream.getvalue()
    assert "[##########----------] 10 Inference: 1 of 3 cases" in shown
    assert shown.endswith("\r\x1b[K") and "\n" not in shown


def test_the_moving_line_moves_on_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "_REFRESH_S", 0.01)
    stream = Terminal()
    with live.show_cells(stream, verbose=False, quiet=False):
        tell("4 Checkpoint to ONNX")
        before, end = stream.getvalue().count("\r"), time.monotonic() + 20
        while stream.getvalue().count("\r") < before + 3 and time.monotonic() < end:
            time.sleep(0.01)
    assert stream.getvalue().count("\r") >= before + 3


def test_the_result_has_scores_gates_report_and_log(tmp_path):
    (tmp_path / "metrics.json").write_text('{"mean": {"WT": 0.9, "ET": null}}', encoding="utf-8")
    stages = {"data": {"checks": [{"passed": True}, {"passed": True}]}, "draw": {}}
    (tmp_path / "run.json").write_text(json.dumps({"stages": stages}), encoding="utf-8")
    lines = live.describe_result(tmp_path)
    assert lines[:2] == ["scores: WT 0.9000", "gates: 2 of 2 hold"]
    assert lines[2:] == [f"report: {tmp_path / 'report.html'}", f"log: {tmp_path / 'run.log'}"]


@pytest.mark.notebook
def test_a_run_names_its_sections_and_ends_with_its_result(tmp_path, monkeypatch, capsys):
    source = tmp_path / "source.ipynb"
    _write_notebook(source, START, "run.finish()")
    import nbformat

    notebook = nbformat.read(source, as_version=4)
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell("## 2 Start the run\n\nA run."))
    nbformat.write(notebook, source)
    monkeypatch.setattr(notebook_run, "notebook_of", lambda name: source)
    assert cli.main(["run", "unet3d_brats", "-v", "-p", "outputs", str(tmp_path / "outputs")]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("passed: ") and shown.out.count("\n") == 1
    assert "2 Start the run" in shown.err and "report: " in shown.err and "scores: none" in shown.err


@pytest.mark.parametrize(("name", "value"), [("grey_window", "foo"), ("cases", "zzz"), ("viewer", "foo")])
def test_a_parameter_that_no_run_can_have_ends_before_a_kernel_starts(tmp_path, monkeypatch, capsys, name, value):
    monkeypatch.setattr(notebook_run, "_execute", lambda *_: pytest.fail("a kernel was started"))
    given = ["-p", "outputs", str(tmp_path), "-p", "demo_seeds", "9001", "-p", name, value]
    assert cli.main(["run", "unet_carvana", *given]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and name in error.replace(" ", "_")


def test_the_help_of_run_shows_lists_and_dicts(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    shown = capsys.readouterr().out
    assert '-p minimum_scores "{WT: 0.8}"' in shown and "-p repeats" in shown and '"[0, 1]"' in shown
