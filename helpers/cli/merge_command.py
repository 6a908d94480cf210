"""The command `merge`: masks of several runs become one result, by parts of a data set or by models."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.cli.command import Command
from helpers.cli.values import add_parameter_arguments, read_given

if TYPE_CHECKING:
    from collections.abc import Sequence

_YAML = (".yaml", ".yml")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="RUN",
        help="folders of part runs (-p part 1/10 to 10/10), or one LIST.yaml of model folders and label values",
    )
    add_parameter_arguments(parser)


def _merge(options: argparse.Namespace) -> int:
    from helpers.errors import ParameterError

    lists = [name for name in options.sources if name.lower().endswith(_YAML)]
    if not lists:
        return _merge_parts(options)
    if len(options.sources) > 1:
        raise ParameterError(
            "merge takes part runs or one list of models", received=f"{lists[0]} and {len(options.sources) - 1} more"
        )
    return _merge_models(options, lists[0])


def _merge_models(options: argparse.Namespace, name: str) -> int:
    from helpers import recipes
    from helpers.cli.notebook_run import run_notebook
    from helpers.data.nnunet.merge import read_model_list
    from helpers.params.paths import find_input
    from helpers.stages.merge import merge_models

    recipe = recipes.load("nnunet")
    given = read_given(options, recipe.params_model)
    models = read_model_list(find_input(name, parameter="LIST.yaml"))
    folder = merge_models(recipe, models, given, lambda each: run_notebook("nnunet", each))
    sys.stdout.write(f"merged: {folder}\n")
    return 0


def _merge_parts(options: argparse.Namespace) -> int:
    from helpers import recipes
    from helpers.cli.notebook_run import run_notebook
    from helpers.params.paths import find_input
    from helpers.qa.finished import drop_none
    from helpers.stages.parts import check_cover, read_parts, whole_params

    parts = read_parts([find_input(name, parameter="RUN") for name in options.sources])
    recipe = recipes.load(str(parts[0].params["recipe"]))
    given = whole_params(parts, read_given(options, recipe.params_model))
    kept = drop_none({name: value for name, value in given.items() if name != "recipe"})
    assert isinstance(kept, dict)
    check_cover(recipe, recipe.prepare_params(**kept), parts)
    folder = run_notebook(recipe.name, kept)
    _refuse_other_bytes(folder, [part.folder for part in parts])
    cases = sum(len(part.cases) for part in parts)
    sys.stdout.write(f"merged: {folder}: {cases} cases of {len(parts)} parts\n")
    return 0


def _refuse_other_bytes(folder: Path, parts: Sequence[Path]) -> None:
    """Checks that every mask of the parts is in the merged run, byte for byte.

    Raises:
        DataError: one differs.
    """
    from helpers.errors import DataError
    from helpers.run.digest import digest_file

    for path in (path for part in parts for path in sorted((part / "masks").glob("*"))):
        merged = folder / "masks" / path.name
        if path.is_file() and (not merged.is_file() or digest_file(merged) != digest_file(path)):
            raise DataError(f"the mask {path.name} differs after merging", received=f"{merged} and {path}")


MERGE = Command("Join part runs, or the labels of several nnU-Net models.", _merge, _add_arguments)
