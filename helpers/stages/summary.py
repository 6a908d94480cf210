"""Ends a run: marks it as passed, and lists its stages, their times and its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import StepOrderError
from helpers.params.paths import PROJECT_ROOT
from helpers.recipes.base import Recipe
from helpers.report import write_report
from helpers.run import Run
from helpers.stages.data import selected_cases
from helpers.stages.figures import draw_times
from helpers.view.tables import html_table

# The stages that a finished run rests on, and the call in a notebook that performs each; masks are checked by case.
_REQUIRED = {
    "data": "stages.prepare_data",
    "export": "stages.export_onnx",
    "simplify": "stages.simplify_onnx",
    "surgery": "stages.apply_surgery",
    "compile": "stages.compile_model",
    "parity": "stages.check_model_parity",
    "score": "stages.score_cases",
}


@dataclass(frozen=True)
class Summary:
    """The table of stages, lines about the run's files, and a chart of the seconds."""

    rows: Sequence[tuple[str, ...]]
    lines: list[str]
    picture: Path

    def __str__(self) -> str:
        lines = [line.replace("<code>", "").replace("</code>", "") for line in self.lines]
        return "\n".join([*("  ".join(row) for row in self.rows), *lines])

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, Image, display

        display(HTML(self._repr_html_()))
        display(Image(filename=str(self.picture)))

    def _repr_html_(self) -> str:
        places = "".join(f"<li>{line}</li>" for line in self.lines)
        return html_table(("stage", "status", "seconds", "checks"), self.rows) + f"<ul>{places}</ul>"


def finish_run(recipe: Recipe, run: Run) -> Summary:
    """Marks the run as passed, writes its report and summarises it; a failed gate would have ended it earlier.

    Raises:
        StepOrderError: a step that the result rests on was not performed in this run; every such step is named.
        GateError: a step failed and was not performed again.
    """
    _require_steps(recipe, run)
    missing = _not_run_here(run)
    picture = draw_times(run)
    run.finish(missing)
    report = write_report(run.folder)
    rows = []
    for result in run.results.values():
        checks = f"{len(result.checks)} ✓" if result.checks else "–"
        rows.append((result.title, result.status, result.shown_seconds, checks))
    folder = run.folder.relative_to(PROJECT_ROOT) if run.folder.is_relative_to(PROJECT_ROOT) else run.folder
    lines = [missing] if missing else []
    lines += [
        f"Run folder: <code>{folder}</code> with <code>model.onnx</code>, <code>masks/</code>, <code>figures/</code>,"
        " <code>metrics.json</code>, <code>run.json</code> and <code>run.log</code>.",
        f"<code>{report.name}</code> in that folder is the report to read, print or share: a single file that needs"
        " no server" + (" and contains no names." if run.params.anonymise else "."),
        "Delete the run folder to free disk space. Later runs reuse <code>.store</code> and <code>.demo</code> in the"
        " outputs folder.",
    ]
    return Summary(rows, lines, picture)


def _require_steps(recipe: Recipe, run: Run) -> None:
    """Refuses to call a run passed that skipped a step: nothing failed in it, and nothing was proven."""
    if any(stage["status"] == "failed" for stage in run.record.content["stages"].values()):
        return  # `Run.finish` names the steps that failed
    skipped = [step for stage, step in _REQUIRED.items() if stage not in run.results]
    if "data" in run.results:
        without = [case.id for case in selected_cases(recipe, run) if f"infer/{case.id}" not in run.results]
        skipped += [f"stages.infer_cases ({', '.join(without)})"] if without else []
    else:
        skipped.append("stages.infer_cases")
    if skipped:
        raise StepOrderError(
            "the run cannot be finished, because steps were not performed",
            received="no " + ", ".join(skipped),
            remedy="Run the cells in order, then this one again.",
        )


def _not_run_here(run: Run) -> str:
    """A sentence about a compiler that is not on this machine; empty if the target itself ran."""
    compiled = run.results.get("compile")
    if compiled is None or compiled.status != "not run here":
        return ""
    by_hand = run.results["device_tool"].values if "device_tool" in run.results else {}
    source = f"{by_hand['tool']}'s outputs" if by_hand.get("answered") else compiled.values["fallback"]
    return f"not run here: {compiled.title}. The masks come from {source}."
