"""A finished run read back from its folder: its steps as a table, one of its pictures."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.run.result import mark_simulated
from helpers.view.show import Shown
from helpers.view.tables import html_table


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
