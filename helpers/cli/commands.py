"""The commands: what each takes and what it prints."""

from __future__ import annotations

import argparse
import sys

import yaml

from helpers import recipes
from helpers.errors import ParameterError
from helpers.params.paths import find_input
from helpers.params.yaml_file import read_yaml_mapping


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help=f"one of {', '.join(recipes.recipe_names())}, or 'all'")
    parser.add_argument("-f", "--file", help="YAML file of parameters")
    parser.add_argument(
        "-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="one parameter"
    )


def _run(options: argparse.Namespace) -> int:
    from helpers.cli.notebook_run import run_notebook, run_start_notebook

    given = read_yaml_mapping(find_input(options.file, parameter="--file")) if options.file else {}
    given |= {name: _read_value(value) for name, value in options.parameter}
    names = [options.recipe]
    if options.recipe == "all":
        names = recipes.recipe_names()
        outputs = str(given.get("outputs", "outputs"))
        sys.stdout.write(f"passed: {run_start_notebook(outputs)}\n")
    for name in names:
        folder = run_notebook(name, given)
        sys.stdout.write(f"passed: {folder}\n")
    return 0


def _read_value(text: str) -> object:
    """A value as YAML reads it: `3`, `0.5`, `[a, b]`, `off`, `some text`."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        expected = "3, 0.5, text, [a, b]"
        raise ParameterError("a parameter's value is no YAML", received=text, expected=expected) from None


def _add_doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="exit 1 when a pinned package is missing")


def _doctor(options: argparse.Namespace) -> int:
    from helpers.doctor import examine

    report = examine()
    sys.stdout.write(f"{report}\n")
    return 0 if report.healthy or not options.strict else 1



COMMANDS = {
    "doctor": ("Shows what this machine has and what each notebook can do on it.", _add_doctor_arguments, _doctor),
    "run": ("Runs a recipe's notebook headless.", _add_run_arguments, _run),
}
