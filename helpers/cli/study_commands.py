"""The commands of the studies: `sweep`, `bisect` and `profile`."""

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


def _add_profile_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="folder of a run whose model is compiled")
    parser.add_argument("--batch", type=int, default=1, help="samples per call (default: 1)")
    parser.add_argument("--seconds", type=float, default=10.0, help="time to spend (default: 10; at least 5 rounds)")
    parser.add_argument("--to", metavar="FOLDER", help="default: profile/ in the run's folder")


def _profile(options: argparse.Namespace) -> int:
    from helpers.errors import ParameterError
    from helpers.params.paths import create_output, expand_home, find_input
    from helpers.study.profile import TOLERANCE, profile_run
    from helpers.study.profile_files import show_profile, write_profile

    for name, value in (("--batch", options.batch), ("--seconds", options.seconds)):
        if not value > 0:
            raise ParameterError(f"{name} is too small", received=value, expected="more than 0")
    folder = find_input(options.run, parameter="RUN")
    to = expand_home(options.to, "--to") if options.to else folder / "profile"
    profile = profile_run(folder, batch=options.batch, budget_s=options.seconds)
    title = f"{folder.parent.name}/{folder.name}"
    paths = write_profile(profile, create_output(to, "--to"), title)
    sys.stdout.write(f"{show_profile(profile, title)!r}\n\n{paths[0]}\n")
    if abs(profile.explained - 1) > TOLERANCE:
        sys.stderr.write(f"warning: the nodes add up to {profile.explained:.0%} of the latency\n")
    return 0


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
    "profile": Command("Show which nodes of a run's model take the time.", _profile, _add_profile_arguments),
    "bisect": Command("Find the first node that diverges from the reference.", _bisect, _add_recipe_arguments),
}
