"""Tables of a run: HTML for JupyterLab and saved notebooks, and plain text for a terminal or a log."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.run import read_record
from helpers.run.measure import label_step
from helpers.run.result import StageResult, mark_simulated

if TYPE_CHECKING:
    from IPython.display import Image

_CASE_STEPS = ("read", "open", "infer", "write")


@dataclass(frozen=True)
class RichText:
    """The value of a notebook cell: HTML in the notebook, plain text in a log."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def note(text: str) -> RichText:
    """One line in italics."""
    return RichText(f"<i>{html.escape(text)}</i>", text)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> RichText:
    """A table with a header, aligned in both forms."""
    lines = text_table([header, *(tuple(map(str, row)) for row in rows)])
    return RichText(html_table(header, rows), "\n".join(lines))


def html_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table with a header; columns that hold only numbers are aligned to the right."""
    numeric = [all(_is_number(row[index]) for row in rows) if rows else False for index in range(len(header))]
    head = "".join(_cell("th", name, right) for name, right in zip(header, numeric, strict=True))
    body = "".join(
        "<tr>" + "".join(_cell("td", value, right) for value, right in zip(row, numeric, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table style='border-collapse:collapse'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table whose columns are as wide as their widest cell; the first row is the header.

    >>> text_table([("case", "WT"), ("a", "0.912")])
    ['case  WT', 'a     0.912']
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def show_score(value: float | None) -> str:
    """Formats a score for a table; None, a case with nothing to score, becomes a dash."""
    return "–" if value is None else f"{value:.3f}"


def show_case_table(
    inferred: Sequence[StageResult], scores: Mapping[str, Mapping[str, float | None]], names: Sequence[str]
) -> RichText:
    """Shows one row per case: seconds of each step, peak memory, scores.

    The seconds of a reused mask are those measured when it was made; times of a double are marked as simulated.

    Args:
        inferred: the results of `infer_cases`.
        scores: case to score name to value.
        names: of the scores to show.
    """
    simulated = any(result.simulated for result in inferred)
    seconds = (f"{label_step(step, simulated)} s" for step in _CASE_STEPS)
    rows = [_case_row(result, scores, names) for result in inferred]
    return table(("case", "status", *seconds, "peak RSS MB", *names), rows)


def show_run(folder: Path) -> RichText:
    """Shows the stages of a finished run in the order in which they ended."""
    stages = sorted(read_record(folder)["stages"].values(), key=lambda stage: stage["ended"])
    rows = [
        (
            stage["title"],
            stage["status"],
            f"{stage['seconds']:.1f}{mark_simulated(stage.get('simulated', False))}",
            len(stage.get("checks", [])) or "–",
        )
        for stage in stages
    ]
    return table(("stage", "status", "seconds", "checks passed"), rows)


def show_first_picture(folder: Path) -> Image:
    """Shows the first picture of a finished run's masks: slices of its worst case, if cases have scores."""
    from IPython.display import Image

    files = read_record(folder)["stages"]["draw_results"]["files"]
    return Image(filename=str(folder / next(name for name in files if name.endswith(".png"))))


def _case_row(
    result: StageResult, scores: Mapping[str, Mapping[str, float | None]], names: Sequence[str]
) -> tuple[str, ...]:
    case = result.stage.partition("/")[2]
    seconds = (f"{result.timings.get(step, 0.0):.2f}" for step in _CASE_STEPS)
    memory = f"{result.timings.get('peak_rss_mb', 0):.0f}"
    return case, result.status, *seconds, memory, *(show_score(scores.get(case, {}).get(name)) for name in names)


def _cell(tag: str, value: object, right: bool) -> str:
    align = "right" if right else "left"
    style = f"text-align:{align};padding:2px 14px 2px 0;vertical-align:top"
    return f"<{tag} style='{style}'>{html.escape(str(value))}</{tag}>"


def _is_number(value: object) -> bool:
    try:
        float(str(value).replace(",", "").rstrip("%"))
    except ValueError:
        return str(value) in {"–", ""}
    return True
