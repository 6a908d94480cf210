"""The command `runs`: the runs in an outputs folder, the newest first, with what they ran and what they scored."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from helpers.cli.command import Command

_LONGEST = 60  # characters of a reason
_HEADER = ("started", "run", "status", "model", "on", "data", "mean scores, or why not")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="only the runs of this recipe")
    parser.add_argument(
        "--outputs", default="outputs", metavar="FOLDER", help="folder of the runs (default: outputs)"
    )


def _runs(options: argparse.Namespace) -> int:
    from helpers.params.paths import find_input
    from helpers.view.tables import text_table

    outputs = find_input(options.outputs, parameter="--outputs", remedy="Run `cookbook run RECIPE` first.")
    if options.recipe:
        from helpers import recipes

        recipes.load(options.recipe)  # a mistyped name is answered with the nearest one
    records = outputs.glob(f"{options.recipe or '[!.]*'}/*/run.json")
    rows = [row for _, row in sorted(map(_describe, records), reverse=True)]
    sys.stdout.write("\n".join(text_table([_HEADER, *rows]) if rows else [f"no run in {outputs}"]) + "\n")
    return 0


def _describe(record: Path) -> tuple[float, tuple[str, ...]]:
    """The start of a run in seconds since 1970, 0 if unknown, and its row; a record that is damaged has a row too."""
    from helpers.run import read_run_status

    status, reason = read_run_status(record)
    content, params = _read(record), _section(_read(record), "params")
    started = content.get("started")
    seconds = float(started) if isinstance(started, int | float) and 0 < started < 1e11 else 0.0
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else "unknown"
    on = ", ".join(str(params[name]) for name in ("target", "precision") if name in params)
    last = _mean_scores(record.parent) if status == "passed" else " ".join(reason.split())
    names = (_name(params, "checkpoint", "demo weights"), on, _name(params, "data_root", "demo"))
    return seconds, (when, f"{record.parent.parent.name}/{record.parent.name}", status, *names, _shorten(last))


def _name(params: Mapping[str, object], parameter: str, otherwise: str) -> str:
    """The last part of a path, which tells runs apart."""
    if parameter not in params:
        return "unknown"
    value = params[parameter]
    return otherwise if value in (None, "", "demo") else Path(str(value)).name or str(value)


def _mean_scores(folder: Path) -> str:
    mean = _section(_read(folder / "metrics.json"), "mean")
    shown = [f"{name} {value:.3f}" for name, value in mean.items() if isinstance(value, float | int)]
    return ", ".join(shown) or "no case has a truth"


def _read(path: Path) -> Mapping[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _section(content: Mapping[str, object], name: str) -> Mapping[str, object]:
    section = content.get(name)
    return section if isinstance(section, dict) else {}


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


RUNS = Command("List the runs in an outputs folder.", _runs, _add_arguments)
