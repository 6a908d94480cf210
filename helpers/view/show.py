"""Shows a stage's pictures in the notebook, and the table of cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from helpers.run.measure import label_step
from helpers.run.result import StageResult
from helpers.view.tables import html_table


class Shown:
    """HTML for a notebook that reads as plain text in a log."""

    def __init__(self, html_text: str, text: str):
        self._html, self._text = html_text, text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


def show_pictures(result: StageResult) -> None:
    """Displays every PNG that a stage made, as static images; the stage itself where it made none."""
    from IPython.display import Image, display

    names = [name for name in result.files if name.endswith(".png")]
    for name in names:
        display(Image(filename=str(Path(result.folder) / name)))
    if not names:
        display(result)


def show_case_table(
    inferred: Sequence[StageResult], scores: Mapping[str, Mapping[str, float | None]], names: Sequence[str]
) -> Shown:
    """One row a case: seconds of each step, peak memory, scores; a reused mask shows when it was made.

    Seconds of a double of a device are called simulated.
    """
    steps = ("read", "open", "infer", "write")
    simulated = any(result.simulated for result in inferred)
    header = ("case", "status", *(f"{label_step(step, simulated)} s" for step in steps), "peak RSS MB", *names)
    rows = []
    for result in inferred:
        case = result.stage.partition("/")[2]
        seconds = [f"{result.timings.get(step, 0.0):.2f}" for step in steps]
        values = [_show(scores.get(case, {}).get(name)) for name in names]
        rows.append((case, result.status, *seconds, f"{result.timings.get('peak_rss_mb', 0):.0f}", *values))
    text = "\n".join("  ".join(str(cell) for cell in row) for row in (header, *rows))
    return Shown(html_table(header, rows), text)


def _show(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
