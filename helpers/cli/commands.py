"""The commands: what each takes and what it prints."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from helpers.cli.handover_commands import HANDOVER_COMMANDS
from helpers.cli.study_commands import STUDY_COMMANDS
from helpers.cli.values import add_parameter_arguments, add_recipe_argument, read_given


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_argument(parser, or_all=True)
    add_parameter_arguments(parser)


def _run(options: argparse.Namespace) -> int:
    from helpers import recipes
    from helpers.cli.notebook_run import FIRST_NOTEBOOKS, LAST_NOTEBOOKS, run_notebook, run_shared_notebook
    from helpers.run import read_run_status

    every = options.recipe == "all"
    names = recipes.recipe_names() if every else [options.recipe]
    given = {name: read_given(options, recipes.load(name).params_model) for name in names}
    outputs = str(given[names[0]].get("outputs") or "outputs")
    for name in names if every else ():
        recipes.load(name).prepare_params(**given[name])  # refuses a wrong parameter before the first notebook
    for shared in FIRST_NOTEBOOKS if every else ():
        sys.stdout.write(f"passed: {run_shared_notebook(shared, outputs)}\n")
    for name in names:
        folder = run_notebook(name, given[name])
        status, reason = read_run_status(folder / "run.json")
        sys.stdout.write(f"passed: {folder}\n" + (f"{reason}\n" if status == "passed" and reason else ""))
    for shared in LAST_NOTEBOOKS if every else ():
        sys.stdout.write(f"passed: {run_shared_notebook(shared, outputs)}\n")
    return 0


def _params(options: argparse.Namespace) -> int:
    from helpers import recipes
    from helpers.params.listing import list_parameters
    from helpers.view.tables import text_table

    rows = list_parameters(recipes.load(options.recipe).prepare_params(profile="demo"), "demo")
    sys.stdout.write("\n".join(text_table(rows)) + "\n")
    return 0


def _add_doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="exit 1 when a pinned package is missing")


def _doctor(options: argparse.Namespace) -> int:
    from helpers.doctor import examine

    report = examine()
    sys.stdout.write(f"{report}\n")
    return 0 if report.healthy or not options.strict else 1


def _add_fetch_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_argument(parser)
    parser.add_argument("--to", default="data", metavar="FOLDER", help="default: data, with one folder a recipe")
    parser.add_argument("--only", nargs="*", default=[], help="'weights', 'data' or names of items")


def _fetch(options: argparse.Namespace) -> int:
    from helpers.fetch import fetch

    report = fetch(options.recipe, destination=Path(options.to) / options.recipe, only=options.only)
    sys.stdout.write(f"{report}\n")
    return 0 if report.ok else 1


def _add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_argument(parser)
    parser.add_argument("root", nargs="?", help="folder of the data (default: data/<recipe>)")


def _verify(options: argparse.Namespace) -> int:
    from helpers.fetch import verify
    from helpers.params.paths import find_input

    root = find_input(options.root or f"data/{options.recipe}", parameter="root")
    report = verify(options.recipe, root)
    sys.stdout.write(f"{report}\n")
    return 0 if report.ok else 1


def _add_report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a run's folder, such as outputs/unet3d_brats/demo-1a2b3c4d")
    parser.add_argument("--anonymise", action="store_true", help="without case names, paths, dates, user and host")
    parser.add_argument("--to", metavar="FILE", help="default: report.html in the run's folder")


def _report(options: argparse.Namespace) -> int:
    from helpers.params.paths import find_input
    from helpers.report import write_report

    folder = find_input(options.run, parameter="run")
    path = write_report(folder, anonymise=options.anonymise or None, to=Path(options.to) if options.to else None)
    sys.stdout.write(f"{path}\n")
    return 0


def _add_rerun_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="folder of a run that passed")
    parser.add_argument("--outputs", metavar="FOLDER", help="default: a new temporary folder")


def _rerun(options: argparse.Namespace) -> int:
    from helpers.cli.rerun import rerun
    from helpers.params.paths import find_input

    done = rerun(find_input(options.run, parameter="run"), options.outputs)
    sys.stdout.write(f"{done}\n")
    return 1 if done.different else 0


COMMANDS = {
    "run": ("Runs a recipe's notebook headless.", _add_run_arguments, _run),
    "doctor": ("Shows what this machine has and what each notebook can do on it.", _add_doctor_arguments, _doctor),
    "params": ("Lists a recipe's parameters, their types, defaults and meaning.", add_recipe_argument, _params),
    "fetch": ("Downloads a recipe's weights and data, checked and resumed.", _add_fetch_arguments, _fetch),
    "verify": ("Looks through weights and data for what would fail later.", _add_verify_arguments, _verify),
    "report": ("Writes a run's report: one HTML file that needs no server.", _add_report_arguments, _report),
    **HANDOVER_COMMANDS,
    **STUDY_COMMANDS,
    "rerun": ("Does a run again from its record and compares the bytes.", _add_rerun_arguments, _rerun),
}
