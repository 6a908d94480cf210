"""Writes a run's report."""

from __future__ import annotations

from pathlib import Path

from helpers.report.page import build_page
from helpers.report.record import RunFolder
from helpers.run.atomic import replace_when_whole


def write_report(folder: Path, *, anonymise: bool | None = None, to: Path | None = None) -> Path:
    """One HTML file that needs no server, no script and no network.

    Args:
        folder: of the run; only `run.json` and the pictures it names are read.
        anonymise: without case names, paths, dates, DICOM names, user and host; None: as the run's parameters say.
        to: the file; None: `report.html` in the run's folder.

    Raises:
        DataError: there is no run in the folder.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    run = RunFolder.read(folder)
    if anonymise is None:
        anonymise = bool(run.record["params"].get("anonymise", False))
    templates = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("page.html.j2").render(build_page(run, anonymise))
    path = to or folder / "report.html"
    with replace_when_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path
