"""Parameters on a command line: `-f FILE` and `-p NAME VALUE`."""

from __future__ import annotations

import argparse

from helpers.errors import ParameterError


def add_parameter_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `-f` and `-p`."""
    parser.add_argument("-f", "--file", help="YAML file of parameters")
    parser.add_argument(
        "-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="one parameter"
    )


def read_given(options: argparse.Namespace) -> dict[str, object]:
    """The parameters given, those of `-p` over those of the file."""
    from helpers.params.paths import find_input
    from helpers.params.yaml_file import read_yaml_mapping

    given = read_yaml_mapping(find_input(options.file, parameter="--file")) if options.file else {}
    return given | {name: _read_value(value) for name, value in options.parameter}


def _read_value(text: str) -> object:
    """A value as YAML reads it: `3`, `0.5`, `[a, b]`, `off`, `some text`."""
    import yaml

    if not text.strip():
        # An unset shell variable must not fall back to the default data without a word.
        raise ParameterError("a parameter has no value", remedy="Give one, or null for the default.")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        expected = "3, 0.5, text, [a, b]"
        raise ParameterError("a parameter's value is no YAML", received=text, expected=expected) from None
