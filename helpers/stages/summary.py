"""Ends a run: marks it as passed, and lists its stages, their times and its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.params.paths import PROJECT_ROOT
from helpers.recipes.base import Recipe
from helpers.report import write_report
from helpers.run import Run
from helpers.stages.figures import draw_times
from helpers.view.tables import html_table


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
    """Marks the run as passed, writes its report and summarises it; a failed gate would have ended it earlier."""
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


def _not_run_here(run: Run) -> str:
    """A sentence about a compiler that is not on this machine; empty if the target itself ran."""
    compiled = run.results.get("compile")
    if compiled is None or compiled.status != "not run here":
        return ""
    by_hand = run.results["device_tool"].values if "device_tool" in run.results else {}
    source = f"{by_hand['tool']}'s outputs" if by_hand.get("answered") else compiled.values["fallback"]
    return f"not run here: {compiled.title}. The masks come from {source}."
