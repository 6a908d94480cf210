"""The command `predict`: masks and nothing else."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from helpers.cli.command import Command
from helpers.cli.values import add_parameter_arguments, read_given


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a finished run, a hand-over bundle, an nnU-Net model folder, a model card, or a checkpoint (--recipe)",
    )
    parser.add_argument("input", metavar="INPUT", help="a folder, a list (.txt, .csv, .json) or a file of one case")
    parser.add_argument("output", metavar="OUTPUT", help="folder of the masks")
    parser.add_argument("--recipe", metavar="RECIPE", help="the recipe of a checkpoint")
    parser.add_argument("--target", help="where the model runs (default: cpu)")
    parser.add_argument("--precision", help="number format, such as bf16 (default: f32)")
    parser.add_argument("--devices", help="all, or numbers such as 0,1")
    parser.add_argument("--save-probabilities", action="store_true", help="keep the probabilities next to the masks")
    parser.add_argument("--scores", action="store_true", help="compare the masks with the cases' labels")
    parser.add_argument(
        "--on-error",
        choices=["continue", "stop"],
        default="continue",
        help="what a case that fails means for the others (default: continue); the exit code is 1 in both cases",
    )
    add_parameter_arguments(parser)


def _predict(options: argparse.Namespace) -> int:
    from helpers.errors import ParameterError
    from helpers.predict.command import Request, predict, refuse_failures
    from helpers.predict.model import find_named_model

    model = find_named_model(options.model, options.recipe)
    texts = {name: getattr(options, name) for name in ("target", "precision", "devices")}
    options.parameter = [*options.parameter, *([name, text] for name, text in texts.items() if text is not None)]
    given: dict[str, Any] = read_given(options, model.recipe.params_model)
    if options.save_probabilities:
        if "save_softmax" not in model.recipe.params_model.model_fields:
            raise ParameterError(
                f"{model.recipe.name} keeps no probabilities", remedy="Leave --save-probabilities out."
            )
        given["save_softmax"] = True
    if "data_root" in given:
        raise ParameterError(
            "INPUT is the data", received=f"data_root {given['data_root']}", remedy="Omit data_root."
        )
    request = Request(options.input, options.output, given, options.scores, options.on_error == "stop")
    outcome, scores = predict(model, request)
    kept = f", {len(outcome.kept)} unchanged" if outcome.kept else ""
    count = "1 mask" if len(outcome.made) == 1 else f"{len(outcome.made)} masks"
    sys.stdout.write(f"{count}{kept}: {options.output}\n")
    for name, mean in scores.items():
        sys.stdout.write(f"{name}: {'nothing to find' if mean is None else f'{mean:.4f}'}\n")
    refuse_failures(outcome)
    return 0


PREDICT = Command("Write the masks of cases, and nothing else.", _predict, _add_arguments)
