"""The command `status`: how far runs are, from another terminal or another machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.cli.command import Command

if TYPE_CHECKING:
    from helpers.run.case_status import CaseStatus

_HEADER = ("run", "status", "cases", "done", "failed", "running", "waiting", "per hour", "left", "as of")
_SHOWN = 10  # failed cases


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    parser.add_argument("--prometheus", metavar="FILE", help="also write the figures as a text file for Prometheus")


def _status(options: argparse.Namespace) -> int:
    from helpers.params.paths import check_output_file, find_input
    from helpers.run.atomic import atomic_path
    from helpers.run.case_status import prometheus_text, read_case_status
    from helpers.view.tables import text_table

    runs = [read_case_status(find_input(name, parameter="RUN")) for name in options.runs]
    if options.prometheus:
        file = check_output_file(options.prometheus, "--prometheus")
        with atomic_path(file) as temporary:
            temporary.write_text(prometheus_text(runs), encoding="utf-8")
    lines = text_table([_HEADER, *map(_row, runs)])
    for run in runs:
        lines += [f"{_name(run.folder)}: {run.reason}"] if run.reason else []
        lines += [f"failed: {case}: {reason}" for case, reason in list(run.failed.items())[:_SHOWN]]
        lines += [f"and {len(run.failed) - _SHOWN} more"] if len(run.failed) > _SHOWN else []
        lines += [f"running: {', '.join(run.running)}"] if run.running else []
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _row(run: CaseStatus) -> tuple[str, ...]:
    from helpers.run.case_status import show_duration, show_time

    counts = ["unknown" if count is None else str(count) for count in run.counts().values()]
    left = "unknown" if run.seconds_left is None else show_duration(run.seconds_left)
    return (
        _name(run.folder),
        run.status,
        "unknown" if run.total is None else str(run.total),
        *counts,
        "" if run.per_hour is None else f"{run.per_hour:.0f}" if run.per_hour >= 100 else f"{run.per_hour:.1f}",
        left if run.status == "running" else "",
        show_time(run.as_of),
    )


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


STATUS = Command("Show how far runs are, from any terminal.", _status, _add_arguments)
