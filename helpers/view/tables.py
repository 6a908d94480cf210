"""Small tables: HTML that reads well in JupyterLab and in a saved notebook, and text for a terminal."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from helpers.params.paths import PARAMS_FOLDER
from helpers.params.yaml_file import read_yaml_mapping
from helpers.run.measure import label_step
from helpers.run.result import StageResult, mark_simulated


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
    """The lines of a table whose columns are as wide as their widest cell; the first row is the header."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


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


class Shown:
    """HTML for a notebook that reads as plain text in a log."""

    def __init__(self, html_text: str, text: str):
        self._html, self._text = html_text, text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


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


def show_published(recipe_name: str) -> Shown:
    """A recipe's entry in `params/published.yaml`: source, scores, speeds as printed and as recomputed, notes."""
    content = read_yaml_mapping(PARAMS_FOLDER / "published.yaml").get(recipe_name, {})
    scores = [
        (entry["name"], entry["value"], "proves nothing" if entry.get("void") else "", entry.get("note", ""))
        for entry in content.get("scores", [])
    ]
    speeds = [_speed(entry) for entry in content.get("latency_ms", [])]
    notes = content.get("notes", [])
    source = f"The source: {content['source']}" if "source" in content else "No source is named."
    page = f"<p>{html.escape(source)}</p>" + html_table(("published score", "value", "", "note"), scores)
    if speeds:
        header = ("batch", "latency ms", "published fps", "batch / latency, a chip", "a card of 4 chips")
        page += "<br>" + html_table(header, speeds)
    page += "<ul>" + "".join(f"<li>{note}</li>" for note in notes) + "</ul>"
    lines = [f"{name}: {value} {void}" for name, value, void, _ in scores]
    return Shown(page, "\n".join([source, *lines, *notes]))


def _speed(entry: dict) -> tuple:
    if entry.get("void"):
        return (entry["batch"], entry["value"], entry["published_fps"], "void", "void")
    return tuple(entry[key] for key in ("batch", "value", "published_fps", "per_chip_fps", "per_card_fps"))


def show_run(folder: Path) -> Shown:
    """The steps in `run.json`, in the order they ended: title, status, seconds, checks."""
    content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    rows = [
        (stage["title"], stage["status"], _seconds(stage), len(stage.get("checks", [])) or "–")
        for stage in sorted(content["stages"].values(), key=lambda stage: stage["ended"])
    ]
    text = "\n".join("  ".join(str(cell) for cell in row) for row in rows)
    return Shown(html_table(("step", "status", "seconds", "checks passed"), rows), text)


def _seconds(stage: dict) -> str:
    return f"{stage['seconds']:.1f}{mark_simulated(stage.get('simulated', False))}"


def show_first_picture(folder: Path):
    """The slices of the case that the run lists first; the worst one where there are scores."""
    from IPython.display import Image

    content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    pictures = [name for name in content["stages"]["draw_results"]["files"] if name.endswith(".png")]
    first = content["stages"]["draw_results"]["facts"]["worst first"].split(", ")[0]
    chosen = next((name for name in pictures if first in name), pictures[0])
    return Image(filename=str(folder / chosen))
