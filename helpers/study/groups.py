"""Group plot of finished runs: the scores and metrics of every case, by run and by site, with outliers named."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.errors import DataError
from helpers.params.paths import find_input
from helpers.scoring.outliers import FEWEST_FOR_OUTLIERS, OUTLYING_Z, modified_z
from helpers.scoring.volume_metrics import metric_of
from helpers.study.compare_runs import Comparison, comparison_folder
from helpers.view import figures

if TYPE_CHECKING:
    from IPython.display import Image

_COLUMNS = ("case", "site")
_NAMED = 5


def plot_groups(comparison: Comparison, sites: str | None = None) -> Image:
    """Group plot of the runs, also as `groups.png` next to them.

    Args:
        comparison: the runs.
        sites: a CSV file with the columns `case` and `site`, whose sites are the colours; None: runs are.

    Raises:
        DataError: the file of sites cannot be read, or lacks a case of the runs.
    """
    from IPython.display import Image

    path = save_groups(comparison, comparison_folder(comparison) / "groups.png", sites)
    return Image(filename=str(path), alt=describe_groups(comparison))


def save_groups(comparison: Comparison, path: Path, sites: str | None = None) -> Path:
    """Draws the group plot to a PNG file; see `plot_groups`."""
    strips = group_strips(comparison)
    cases = dict.fromkeys(case for row in strips.values() for strip in row for case in strip.values)
    colours = read_sites(sites, list(cases)) if sites else None
    charts = {f"{name} / {unit}" if (unit := metric_of(name).unit) else name: row for name, row in strips.items()}
    return figures.save_figure(figures.draw_groups(charts, [run.name for run in comparison.runs], colours), path)


def describe_groups(comparison: Comparison) -> str:
    """The plot in words, for readers who cannot see it; without ids of cases."""
    runs = ", ".join(run.name for run in comparison.runs)
    named = [
        f"{name}, {run.name}: {len(strip.outliers)}"
        for name, row in group_strips(comparison).items()
        for run, strip in zip(comparison.runs, row, strict=True)
        if strip.outliers
    ]
    return f"scores and metrics of each case of {runs}; outliers: {'; '.join(named) or 'none'}"


def group_strips(comparison: Comparison) -> dict[str, list[figures.Strip]]:
    """Each score, and each metric that the runs measured by the same rules, with one strip per run.

    A strip has all cases of its run, also those that the other runs lack: sites are compared by different cases.
    """
    found = {}
    for name in (*comparison.first.score_names, *comparison.metric_names):
        rows = [
            {case: value for case, row in run.values.items() if (value := row.get(name)) is not None}
            for run in comparison.runs
        ]
        if any(rows):
            found[name] = [figures.Strip(row, find_outliers(row)) for row in rows]
    return found


def find_outliers(values: Mapping[str, float]) -> list[str]:
    """The cases farther than 3.5 robust standard deviations from the median, the farthest first; of five at least.

    >>> find_outliers({"a": 0.90, "b": 0.91, "c": 0.92, "d": 0.93, "e": 0.2})
    ['e']
    >>> find_outliers({"a": 0.9, "b": 0.2})
    []
    """
    if len(values) < FEWEST_FOR_OUTLIERS:
        return []
    away = dict(zip(values, np.abs(modified_z(list(values.values()))).tolist(), strict=True))
    return sorted((case for case in away if away[case] > OUTLYING_Z), key=lambda case: (-away[case], case))


def read_sites(path: str, cases: Sequence[str]) -> dict[str, str]:
    """The site of each case, from a CSV file with the columns `case` and `site`.

    Raises:
        DataError: the file cannot be read as such, has a case twice, or lacks one of `cases`.
    """
    file = find_input(path, parameter="sites", remedy="Name a CSV file with the columns case and site.")
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            rows = [(row.get("case"), row.get("site")) for row in reader]
            columns = reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(file, str(error)) from None
    if not set(_COLUMNS) <= set(columns):
        raise _unreadable(file, f"the columns {', '.join(columns) or 'none'}")
    found: dict[str, str] = {}
    for case, site in rows:
        if not case or not site:
            raise _unreadable(file, f"the row {case or ''},{site or ''}")
        if found.setdefault(case, site) != site:
            raise _unreadable(file, f"case {case} at {found[case]} and at {site}")
    missing = [case for case in cases if case not in found]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise DataError(
            f"{file} lacks the site of {len(missing)} of {len(cases)} cases",
            received=", ".join(missing[:_NAMED]) + more,
            remedy="Add a row for each.",
        )
    return {case: found[case] for case in cases}


def _unreadable(file: Path, received: str) -> DataError:
    return DataError(
        f"{file} is not a list of sites", received=received, expected="a CSV file with the columns case and site"
    )
