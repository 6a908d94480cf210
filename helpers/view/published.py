"""What the sources print, with a verdict on each figure, and the scores of a run, with their conditions."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from helpers.params.paths import PARAMS_FOLDER
from helpers.params.yaml_file import read_yaml_mapping
from helpers.run import read_record
from helpers.view.tables import RichText, html_table, text_table

VERDICTS = ("sound", "wrong arithmetic", "not comparable", "suspect")
_SPEED_HEADER = ("batch", "latency ms", "published fps", "batch / latency, per chip", "per card of 4 chips")
_FIGURE_HEADER = ("figure", "value", "unit", "device", "batch", "conditions", "verdict", "corrected or held out")
_OWN_HEADER = ("this run", "value", "cases", "target", "precision")
Entry = Mapping[str, object]

# How a corrected figure follows from the others of its row.
_RULES: dict[str, Callable[[Mapping[str, float]], float]] = {
    # samples per second of all chips of a card: batch x chips / time of a batch
    "card_rate": lambda row: row["batch"] * row["chips"] * 1e3 / row["latency_ms"],
    # printed in batches per second, under a heading of samples
    "batches_to_samples": lambda row: row["value"] * row["batch"],
}


def published_figures(recipe_name: str, section: str = "figures") -> list[dict[str, object]]:
    """The figures of a recipe's source, or those published `elsewhere`, each with its conditions."""
    content = read_yaml_mapping(PARAMS_FOLDER / "published.yaml").get(recipe_name, {})
    usual = content.get("conditions", {})
    return [{"conditions": usual.get(row["kind"], ""), **row} for row in content.get(section, [])]


def recompute(figure: Mapping[str, float], rule: str) -> float:
    """The figure that the row's other figures give.

    >>> round(recompute({"batch": 4, "chips": 4, "latency_ms": 252.54}, "card_rate"), 2)
    63.36
    """
    return _RULES[rule](figure)


def show_published(recipe_name: str, run_folder: Path | None = None) -> RichText:
    """Shows a recipe's entry in `params/published.yaml`: source, scores, speeds (also recomputed), figures and notes.

    Args:
        recipe_name: of the entry.
        run_folder: of a run whose scores are shown too, with the cases that they were taken on.
    """
    content = read_yaml_mapping(PARAMS_FOLDER / "published.yaml").get(recipe_name, {})
    scores = [
        (entry["name"], entry["value"], "proves nothing" if entry.get("void") else "", entry.get("note", ""))
        for entry in content.get("scores", [])
    ]
    speeds = [_published_speed(entry) for entry in content.get("latency_ms", [])]
    notes = content.get("notes", [])
    source = f"Source: {content['source']}" if "source" in content else "No source is named."
    own = _own_scores(run_folder) if run_folder else []
    page = f"<p>{html.escape(source)}</p>" + html_table(("published score", "value", "", "note"), scores)
    if speeds:
        page += "<br>" + html_table(_SPEED_HEADER, speeds)
    page += "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in notes) + "</ul>"
    if own:
        page += html_table(_OWN_HEADER, own)
    lines = [f"{name}: {value} {void}".rstrip() for name, value, void, _ in scores]
    lines += notes + (text_table([_OWN_HEADER, *own]) if own else [])
    for title, section in (("Every figure of the document", "figures"), ("The same network elsewhere", "elsewhere")):
        figures = published_figures(recipe_name, section)
        if figures:
            counts = _count_verdicts(figures)
            page += f"<details><summary>{title}: {counts}</summary>"
            page += html_table(_FIGURE_HEADER, [_figure_row(figure) for figure in figures]) + "</details>"
            lines.append(f"{title}: {counts}")
    return RichText(page, "\n".join([source, *lines]))


def _count_verdicts(figures: Sequence[Entry]) -> str:
    counts = Counter(str(figure["verdict"]) for figure in figures)
    return f"{len(figures)}, " + ", ".join(f"{counts[name]} {name}" for name in VERDICTS if counts[name])


def _figure_row(figure: Entry) -> tuple[object, ...]:
    better = figure.get("corrected", "")
    if "held_out" in figure:
        better = f"{figure['held_out']} held out"
    names = ("name", "value", "unit", "device", "batch", "conditions", "verdict")
    return *(figure.get(name, "") for name in names), better


def _own_scores(folder: Path) -> list[tuple[str, ...]]:
    """Mean scores of a run with what they were taken on; empty if no case has a truth."""
    path = folder / "metrics.json"
    if not path.is_file():
        return []
    params = read_record(folder)["params"]
    mean = json.loads(path.read_text(encoding="utf-8")).get("mean", {})
    count = len(json.loads(path.read_text(encoding="utf-8")).get("cases", {}))
    cases = f"{count} demo cases, drawn" if params["data_root"] == "demo" else f"{count} of your cases"
    if params.get("split"):
        cases += f", split {params['split']}"
    return [
        (name, f"{value:.4f}", cases, str(params["target"]), str(params["precision"]))
        for name, value in mean.items()
        if isinstance(value, float | int)
    ]


def _published_speed(entry: Entry) -> tuple[object, ...]:
    recomputed = ("void", "void") if entry.get("void") else (entry["per_chip_fps"], entry["per_card_fps"])
    return entry["batch"], entry["value"], entry["published_fps"], *recomputed
