"""The figures that a recipe's source publishes, with what is wrong about them."""

from __future__ import annotations

import html

from helpers.params.paths import PARAMS_FOLDER
from helpers.params.yaml_file import read_yaml_mapping
from helpers.view.show import Shown
from helpers.view.tables import html_table


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
