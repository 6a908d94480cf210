"""The recipe and its parameters on a command line: `RECIPE`, `-f FILE` and `-p NAME VALUE`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from helpers.errors import ParameterError

if TYPE_CHECKING:
    from helpers.params.model import RunParams


def add_parameter_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `-f` and `-p`."""
    parser.add_argument("-f", "--file", metavar="FILE", help="YAML file of parameters")
    parser.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="one parameter; may be repeated and overrides the file",
    )


def add_recipe_argument(parser: argparse.ArgumentParser, *, or_all: bool = False) -> None:
    """Adds the recipe, with every name in its help."""
    from helpers import recipes

    names = ", ".join(recipes.recipe_names())
    parser.add_argument("recipe", help=f"one of {names}" + (", or 'all'" if or_all else ""))


def read_given(options: argparse.Namespace, model: type[RunParams]) -> dict[str, object]:
    """Collects the given parameters; those of `-p` override those of the file.

    Relative paths, also those in the file, become absolute paths below the caller's folder. A notebook's kernel has
    another folder, which may hold other files of the same names.

    Args:
        options: the parsed arguments that `add_parameter_arguments` declares.
        model: the parameters of the recipe; a parameter's type decides how its text is read.

    Raises:
        ParameterError: the file does not exist or is not YAML, or a value is empty or not YAML, or one source gives a
            parameter under its old and its new name.
    """
    from helpers.params.paths import anchor_output, find_input
    from helpers.params.renamed import rename_parameters
    from helpers.params.resolve import anchor_paths
    from helpers.params.yaml_file import read_yaml_mapping

    known = model.model_fields
    given = read_yaml_mapping(find_input(options.file, parameter="--file")) if options.file else {}
    texts = rename_parameters(dict(options.parameter), known)
    values = rename_parameters(given, known) | {name: _read_value(name, str(texts[name]), model) for name in texts}
    if isinstance(outputs := values.get("outputs"), str):
        values["outputs"] = anchor_output(outputs)
    return anchor_paths(values, model)


def _read_value(name: str, text: str, model: type[RunParams]) -> object:
    """Returns a text parameter unchanged, and any other as YAML reads it; `null` is the default."""
    import yaml

    from helpers.params.yaml_file import explain_yaml_error, parse_yaml, shorten, takes_text

    if not text.strip():
        # An unset shell variable must not silently select the default data.
        raise ParameterError(f"parameter {name} has no value", remedy="Give one, or null for the default.")
    if name in model.model_fields and takes_text(model.model_fields[name].annotation):
        return None if text == "null" else text
    try:
        return parse_yaml(text)
    except yaml.YAMLError as error:
        raise ParameterError(
            f"the value of {name} is not valid YAML: {explain_yaml_error(error)}",
            received=shorten(text),
            expected="for example 3, 0.5, text or [a, b]",
        ) from None
