"""The commands of the studies: `sweep` and `bisect`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from helpers.cli.command import Command
from helpers.cli.values import add_parameter_arguments, add_recipe_argument, read_given

if TYPE_CHECKING:
    from helpers.recipes.base import Recipe
    from helpers.run import Run


def _add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_argument(parser, or_all=True)
    add_parameter_arguments(parser)


def _add_sweep_arguments(parser: argparse.ArgumentParser) -> None:
    _add_recipe_arguments(parser)
    parser.add_argument(
        "--targets", help="comma-separated, in addition to the run's own target, which is the baseline in f32"
    )
    parser.add_argument("--precisions", help="comma-separated (default: all that each target supports)")
    parser.add_argument("--batches", help="comma-separated batch sizes to time (default: 1)")


def _sweep(options: argparse.Namespace) -> int:
    study = {f"study_{name}": getattr(options, name) for name in ("targets", "precisions", "batches")}
    given = {name: text for name, text in study.items() if text} | {"precision_study": True}
    return max(_sweep_one(name, values | given) for name, values in _given_by_recipe(options).items())


def _sweep_one(recipe_name: str, given: Mapping[str, object]) -> int:
    from helpers import study

    recipe, run = _run_to_graph(recipe_name, given)
    result = study.study_precisions(recipe, run)
    run.finish()
    sys.stdout.write(f"{result}\n{run.folder}\n")
    passed = result.values["passed"]
    assert isinstance(passed, Mapping)
    return 1 if False in passed.values() else 0


def _bisect(options: argparse.Namespace) -> int:
    return max(_bisect_one(name, given) for name, given in _given_by_recipe(options).items())


def _bisect_one(recipe_name: str, given: Mapping[str, object]) -> int:
    from helpers import stages, study

    recipe, run = _run_to_graph(recipe_name, given)
    stages.compile_model(recipe, run)
    result = study.bisect_device(recipe, run)
    run.finish()
    sys.stdout.write(f"{result}\n{run.folder}\n")
    return 1 if result.values["culprit"] else 0


def _given_by_recipe(options: argparse.Namespace) -> dict[str, dict[str, object]]:
    from helpers import recipes

    names = recipes.recipe_names() if options.recipe == "all" else [options.recipe]
    return {name: read_given(options, recipes.load(name).params_model) for name in names}


def _run_to_graph(recipe_name: str, given: Mapping[str, object]) -> tuple[Recipe, Run]:
    """Carries a run from its data to its final graph, without a notebook."""
    from helpers import recipes, stages
    from helpers.stages.labels import open_run

    recipe = recipes.load(recipe_name)
    params = recipe.prepare_params(**given)
    recipe.model.checkpoint_paths(params)
    run = open_run(recipe, params)
    if recipe.model.previous_params(params) is not None:
        stages.run_previous_stage(recipe, run)
    stages.prepare_data(recipe, run)
    stages.export_onnx(recipe, run)
    stages.simplify_onnx(recipe, run)
    stages.apply_surgery(recipe, run)
    return recipe, run


STUDY_COMMANDS = {
    "sweep": Command("Compare precisions, targets and batch sizes.", _sweep, _add_sweep_arguments),
    "bisect": Command("Find the first node that diverges from the reference.", _bisect, _add_recipe_arguments),
}
