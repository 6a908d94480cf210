"""The state of a notebook cannot lie: parameters come from the parameters cell, and a run without its steps ends."""

from __future__ import annotations

import pytest

from helpers import stages
from helpers.errors import ParameterError, StepOrderError
from helpers.run import read_run_status
from helpers.stages.parameter_cells import read_parameters
from tests.stages.pipeline import QUICK

MARK = "# Parameters of this run; papermill replaces them"
START = 'from helpers import stages\nrecipe, run = stages.start_run("tiny", globals())\nrun'


@pytest.fixture
def notebook(tiny, tmp_path):
    """A kernel whose session has no name, as in VS Code: runs cells and returns what they show."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from traitlets.config import Config

    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}), user_ns={})
    started = []

    def run_cell(source: str) -> str:
        with capture_output() as shown:
            result = shell.run_cell(source, store_history=True)
        run = shell.user_ns.get("run")
        if run is not None:
            started.append(run)
        result.raise_error()
        return shown.stdout + "".join(str(each.data.get("text/plain", "")) for each in shown.outputs)

    run_cell.names = shell.user_ns
    run_cell.parameters = lambda *lines: run_cell("\n".join((MARK, f"outputs = {str(tmp_path)!r}", *lines)))
    yield run_cell
    for run in started:
        run.record.end("passed")


class TestParametersCell:
    def test_a_typo_is_refused_and_forgotten_once_corrected(self, notebook):
        notebook.parameters("batchsize = 4")
        with pytest.raises(ParameterError, match="Did you mean 'batch_size'"):
            notebook(START)
        notebook.parameters("batch_size = 4")
        notebook(START)
        assert notebook.names["run"].params.batch_size == 4

    @pytest.mark.parametrize("variable", ["window = [8, 8, 8]", "batch_size = 5", "cases = ['case_1']"])
    def test_a_readers_variable_named_like_a_parameter_changes_nothing_and_is_said(self, notebook, variable):
        notebook.parameters("batch_size = 2")
        notebook(variable)
        notebook(START)
        params = notebook.names["run"].params
        assert (params.window, params.batch_size, params.cases) == ([16, 16, 16], 2, [])
        name = variable.partition(" ")[0]
        assert f"{name} of another cell is not a parameter" in notebook.names["run"]._repr_html_()

    @pytest.mark.parametrize("name", ["case", "steps", "targets", "precisions", "windows", "output"])
    def test_a_readers_variable_that_resembles_a_parameter_is_not_refused(self, notebook, name):
        notebook.parameters()
        notebook(f"{name} = ['mine']")
        notebook(START)
        assert notebook.names["run"].remarks == []

    def test_a_value_of_the_cell_is_not_replaced_by_a_later_variable(self, notebook):
        notebook.parameters("batch_size = 2")
        notebook(START)
        notebook("batch_size = 8")
        notebook(START)
        assert notebook.names["run"].params.batch_size == 2

    def test_what_papermill_gives_overrides_the_cell_and_a_typo_in_it_is_refused(self, notebook):
        notebook.parameters("batch_size = 2")
        notebook("# Parameters\nbatch_size = 3\n")
        notebook(START)
        assert notebook.names["run"].params.batch_size == 3
        notebook("# Parameters\nbacth_size = 3\n")
        with pytest.raises(ParameterError, match="bacth_size"):
            notebook(START)

    def test_a_computed_value_is_the_one_of_its_variable(self, notebook):
        notebook.parameters("batch_size = 1 + 1")
        notebook(START)
        assert notebook.names["run"].params.batch_size == 2

    def test_an_explicit_argument_overrides_the_cell(self, notebook):
        notebook.parameters("batch_size = 2")
        notebook(START.replace("globals()", "globals(), batch_size=4"))
        assert notebook.names["run"].params.batch_size == 4

    def test_without_a_parameters_cell_no_run_is_started(self, notebook):
        with pytest.raises(StepOrderError, match="no parameters cell was run"):
            notebook(START)

    def test_a_notebook_of_an_earlier_version_has_an_unmarked_cell(self):
        cells = ['profile = "demo"  # str\nbatch_size = 2', "batch_size = 9", "# Parameters\nopset = 12\n", START]
        assert read_parameters(cells, {"batch_size": 9}) == {"profile": "demo", "batch_size": 2, "opset": 12}

    def test_a_cell_that_is_not_python_is_refused(self):
        with pytest.raises(ParameterError, match="not valid Python"):
            read_parameters([f"{MARK}\nbatch_size = = 2"], {})


class TestChangedSince:
    def test_a_cell_run_with_parameters_that_changed_says_so(self, notebook):
        notebook.parameters("batch_size = 2")
        notebook(START)
        assert notebook("run.params.batch_size") == "Out[3]: 2\n"
        notebook.parameters("batch_size = 4")
        shown = notebook("run.params.batch_size")
        assert "have changed since this run was started (batch_size 2 → 4)" in shown
        assert "changed" in notebook.names["run"].path("run.log").read_text(encoding="utf-8")
        assert "changed" not in notebook("1 + 1")  # has nothing to do with the run

    def test_it_is_said_once_and_ends_with_a_new_run(self, notebook, caplog):
        notebook.parameters("batch_size = 2")
        notebook(START)
        notebook(START)
        notebook.parameters("batch_size = 4")
        notebook("run.params.batch_size")
        assert caplog.text.count("have changed") == 1
        assert "changed" not in notebook(START)
        assert notebook("run.params.batch_size") == "Out[7]: 4\n"


class TestFinish:
    def test_a_run_without_its_steps_cannot_be_finished(self, run_pipeline, tmp_path):
        done = run_pipeline(tmp_path, until="data", **QUICK)
        with pytest.raises(StepOrderError, match=r"no stages\.export_onnx, .*stages\.infer_cases \(case_1, case_2"):
            stages.finish_run(done.recipe, done.run)
        assert read_run_status(done.run.path("run.json"))[0] == "running"
        assert not done.run.path("report.html").exists()

    @pytest.mark.parametrize("skipped", ["parity", "infer", "score"])
    def test_each_required_step_is_named(self, run_pipeline, outputs, skipped):
        done = run_pipeline(outputs, until="source", **QUICK)
        for stage in [stage for stage in done.run.results if stage.partition("/")[0] == skipped]:
            del done.run.results[stage]
        with pytest.raises(StepOrderError, match=skipped):
            stages.finish_run(done.recipe, done.run)

    def test_a_run_that_reuses_every_step_is_finished(self, run_pipeline, outputs):
        run_pipeline(outputs, **QUICK)
        done = run_pipeline(outputs, **QUICK)
        assert {done.run.results["parity"].status, done.run.results["score"].status} == {"reused"}
        assert read_run_status(done.run.path("run.json"))[0] == "passed"
