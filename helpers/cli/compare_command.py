"""The command `compare`: finished runs of a recipe side by side, with intervals, tests and ranks by case."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.cli.command import Command
from helpers.cli.values import add_recipe_argument

if TYPE_CHECKING:
    from helpers.study import Comparison


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_argument(parser)
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="run folders by name, the reference first (default: the two newest)"
    )
    parser.add_argument(
        "--outputs", default="outputs", metavar="FOLDER", help="folder of the runs (default: outputs)"
    )
    parser.add_argument("--plot", metavar="FILE", help="also draw the group plot, a PNG: every case, outliers named")
    parser.add_argument(
        "--sites",
        metavar="FILE",
        help="colours of the plot: a CSV file with the columns case and site (default: runs)",
    )
    parser.add_argument("--json", metavar="FILE", help="also write the values and differences of every case")


def _compare(options: argparse.Namespace) -> int:
    from helpers import recipes, study
    from helpers.params.paths import check_output_file
    from helpers.run.atomic import write_json

    recipes.load(options.recipe)  # a mistyped name is answered with the nearest one
    to = check_output_file(options.json, "--json") if options.json else None
    picture = _check_picture(options)
    comparison = study.choose_runs(options.recipe, options.runs or None, options.outputs)
    if picture:
        study.save_groups(comparison, picture, options.sites)
    shown = [study.show_runs(comparison), study.show_differing_parameters(comparison), study.show_scores(comparison)]
    shown += [study.show_metrics(comparison)] if comparison.metric_names or comparison.differing_rules() else []
    shown += [study.show_tests(comparison), study.show_ranks(comparison)]
    sys.stdout.write("\n\n".join(map(repr, shown)) + "\n")
    if picture:
        sys.stdout.write(f"\n{picture}\n")
    if to:
        write_json(to, _as_json(comparison))
        sys.stdout.write(f"\n{to}\n")
    return 0


def _check_picture(options: argparse.Namespace) -> Path | None:
    from helpers.errors import ParameterError
    from helpers.params.paths import check_output_file

    if options.plot is None:
        if options.sites is not None:
            raise ParameterError("--sites colours the group plot, which is not drawn", remedy="Add --plot FILE.png.")
        return None
    if not options.plot.lower().endswith(".png"):
        raise ParameterError("the group plot is a PNG", received=f"--plot {options.plot}", expected="a name in .png")
    return check_output_file(options.plot, "--plot")


def _as_json(comparison: Comparison) -> dict[str, object]:
    """Every difference by run and score: means, interval, test, the deciding cases, and the values of each case."""
    names = (*comparison.first.score_names, *comparison.metric_names)
    differences = {
        run.name: {
            row.score: {
                "means": list(row.means),
                "difference": row.mean,
                "interval": None if row.interval is None else list(row.interval),
                "p": row.test.p,
                "better": row.test.better,
                "equal": row.test.equal,
                "worse": row.test.worse,
                "turned_by": list(row.test.turned_by),
                "cases": dict(row.values),
            }
            for row in comparison.differences(run, names)
        }
        for run in comparison.runs[1:]
    }
    return {"first": comparison.first.name, "not_compared": comparison.differing_rules(), "differences": differences}


COMPARE = Command("Compare finished runs case by case: intervals, tests, ranks.", _compare, _add_arguments)
