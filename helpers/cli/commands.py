"""The commands by group, and the implementation of those for runs, data and this machine.

A command imports what it needs when it runs, so that listing the commands costs nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from helpers.cli import new_card, new_recipe
from helpers.cli.command import Command
from helpers.cli.compare_command import COMPARE
from helpers.cli.completion import COMPLETION
from helpers.cli.handover_commands import HANDOVER_COMMANDS
from helpers.cli.merge_command import MERGE
from helpers.cli.predict import PREDICT
from helpers.cli.reader_commands import READER_COMMANDS
from helpers.cli.record_commands import RECORD_COMMANDS
from helpers.cli.runs_command import RUNS
from helpers.cli.status_command import STATUS
from helpers.cli.study_commands import STUDY_COMMANDS
from helpers.cli.values import add_parameter_arguments, add_recipe_argument, read_given

_RUN_EXAMPLES = """examples:
  cookbook run unet3d_brats
  cookbook run unet3d_brats -p profile cpu -p checkpoint MODEL.pth -p data_root DATA
  cookbook run unet_carvana -f mine.yaml -p precision bf16

-p repeats, one parameter each. Values are YAML:
  a list            -p cases id1,id2      or  -p mirror_axes "[0, 1]"
  a dict            -p minimum_scores "{WT: 0.8}"      with a space after each colon, in quotes
  nothing           -p mirror_axes "[]"
  the default       -p precision null

`cookbook params RECIPE` lists the parameters."""


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_argument(parser, or_all=True)
    add_parameter_arguments(parser)
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("-v", "--verbose", action="store_true", help="a line per section, also without a terminal")
    amount.add_argument("-q", "--quiet", action="store_true", help="show nothing but the folder, or the error")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _RUN_EXAMPLES


def _run(options: argparse.Namespace) -> int:
    from helpers.cli.live import show_cells

    with show_cells(sys.stderr, verbose=options.verbose, quiet=options.quiet) as shown:
        if options.recipe == "all":
            return _run_all(options)
        from helpers import recipes

        given = read_given(options, recipes.load(options.recipe).params_model)
        folder = _run_recipe(options.recipe, given)
    if shown:
        from helpers.cli.live import describe_result

        sys.stderr.write("\n".join(describe_result(folder)) + "\n")
    return 0


def _run_all(options: argparse.Namespace) -> int:
    from helpers import recipes
    from helpers.cli.notebook_run import FIRST_NOTEBOOKS, LAST_NOTEBOOKS, run_shared_notebook

    given = {name: read_given(options, recipes.load(name).params_model) for name in recipes.recipe_names()}
    for name, parameters in given.items():
        recipes.load(name).prepare_params(**parameters)  # refuses an invalid parameter before the first notebook
    outputs = str(next(iter(given.values())).get("outputs") or "outputs")
    for notebook in FIRST_NOTEBOOKS:
        sys.stdout.write(f"passed: {run_shared_notebook(notebook, outputs)}\n")
    for name, parameters in given.items():
        _run_recipe(name, parameters)
    for notebook in LAST_NOTEBOOKS:
        sys.stdout.write(f"passed: {run_shared_notebook(notebook, outputs)}\n")
    return 0


def _run_recipe(name: str, given: dict[str, object]) -> Path:
    from helpers.cli.notebook_run import run_notebook
    from helpers.run import read_run_status

    folder = run_notebook(name, given)
    status, reason = read_run_status(folder / "run.json")
    sys.stdout.write(f"passed: {folder}\n" + (f"{reason}\n" if status == "passed" and reason else ""))
    return folder


def _params(options: argparse.Namespace) -> int:
    from helpers import recipes
    from helpers.params.listing import list_parameters
    from helpers.view.tables import text_table

    rows = list_parameters(recipes.load(options.recipe).prepare_params(profile="demo"), "demo")
    sys.stdout.write("\n".join(text_table(rows)) + "\n")
    return 0


def _add_doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a pinned package is missing")


def _doctor(options: argparse.Namespace) -> int:
    from helpers.doctor import examine

    report = examine()
    sys.stdout.write(f"{report}\n")
    return 0 if report.healthy or not options.strict else 1


def _add_fetch_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_argument(parser)
    parser.add_argument(
        "--to", default="data", metavar="FOLDER", help="destination, with one folder per recipe (default: data)"
    )
    parser.add_argument("--only", nargs="*", default=[], metavar="ITEM", help="'weights', 'data' or names of items")


def _fetch(options: argparse.Namespace) -> int:
    from helpers.fetch import fetch
    from helpers.params.paths import expand_home

    destination = expand_home(options.to, "--to") / options.recipe
    report = fetch(options.recipe, destination=destination, only=options.only)
    sys.stdout.write(f"{report}\n")
    return 0 if report.ok else 1


def _add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_argument(parser)
    parser.add_argument("root", nargs="?", metavar="FOLDER", help="folder of the data (default: data/RECIPE)")


def _verify(options: argparse.Namespace) -> int:
    from helpers.fetch import verify
    from helpers.params.paths import find_input

    remedy = "Check the path." if options.root else f"Run `cookbook fetch {options.recipe}` first, or name a folder."
    root = find_input(options.root or f"data/{options.recipe}", parameter="FOLDER", remedy=remedy)
    report = verify(options.recipe, root)
    sys.stdout.write(f"{report}\n")
    return 0 if report.ok else 1


def _add_report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder of a run, such as outputs/unet3d_brats/demo-1a2b3c4d")
    parser.add_argument("--anonymise", action="store_true", help="leave out case names, paths, dates, user and host")
    parser.add_argument("--to", metavar="FILE", help="default: report.html in the run's folder")


def _report(options: argparse.Namespace) -> int:
    from helpers.params.paths import check_output_file, find_input
    from helpers.report import write_report

    folder = find_input(options.run, parameter="RUN")
    to = check_output_file(options.to or str(folder / "report.html"), "--to")
    path = write_report(folder, anonymise=options.anonymise or None, to=to)
    sys.stdout.write(f"{path}\n")
    return 0


def _add_rerun_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder of a run that passed")
    parser.add_argument("--outputs", metavar="FOLDER", help="default: a new temporary folder")


def _rerun(options: argparse.Namespace) -> int:
    from helpers.cli.rerun import rerun
    from helpers.params.paths import find_input

    result = rerun(find_input(options.run, parameter="RUN"), options.outputs)
    sys.stdout.write(f"{result}\n")
    return 1 if result.different else 0


GROUPS: dict[str, dict[str, Command]] = {
    "Start here": {
        "run": Command("Run a recipe's notebook without a browser.", _run, _add_run_arguments),
        "predict": PREDICT,
        "doctor": Command("Show what this machine has and what runs on it.", _doctor, _add_doctor_arguments),
        "merge": MERGE,
        "params": Command("List a recipe's parameters with type, value and meaning.", _params, add_recipe_argument),
    },
    "Weights and data": {
        "fetch": Command("Download a recipe's official weights and data.", _fetch, _add_fetch_arguments),
        "verify": Command("Check weights and data before a run.", _verify, _add_verify_arguments),
    },
    "Your own model": {
        "new-card": Command(
            "Write a first model card from a model file or a MONAI bundle.", new_card.run, new_card.add_arguments
        ),
        "new-recipe": Command(
            "Write a recipe in Python that runs at once.", new_recipe.run, new_recipe.add_arguments
        ),
    },
    "Runs": {
        "runs": RUNS,
        "status": STATUS,
        "compare": COMPARE,
        "report": Command("Write a run's report: one self-contained HTML file.", _report, _add_report_arguments),
        "rerun": Command("Repeat a run from its record and compare the bytes.", _rerun, _add_rerun_arguments),
    },
    "Readers of masks": READER_COMMANDS,
    "Hand-over between machines": HANDOVER_COMMANDS,
    "Studies": {**STUDY_COMMANDS, **RECORD_COMMANDS},
    "Shell": {"completion": COMPLETION},
}
COMMANDS: dict[str, Command] = {name: command for group in GROUPS.values() for name, command in group.items()}
