"""The commands of a hand-over between machines: `export`, `compile`, `infer`, `score`, one per machine.

Each command imports what it needs itself, because `infer` runs on machines that have numpy only.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.cli.command import Command
from helpers.cli.values import add_parameter_arguments, add_recipe_argument, read_given

if TYPE_CHECKING:
    from helpers.interop.bundle import Bundle


def _add_export_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe_argument(parser)
    parser.add_argument("--to", default="bundle", metavar="BUNDLE", help="folder to write (default: bundle)")
    add_parameter_arguments(parser)


def _export(options: argparse.Namespace) -> int:
    from helpers import recipes, stages
    from helpers.cli.preflight import check_inputs
    from helpers.stages.handover import pack_bundle
    from helpers.stages.labels import open_run

    recipe = recipes.load(options.recipe)
    params = recipe.prepare_params(**read_given(options, recipe.params_model))
    check_inputs(recipe, params)
    folder = _check_new_folder(options.to)
    run = open_run(recipe, params)
    if recipe.model.previous_params(params) is not None:
        _print(stages.run_previous_stage(recipe, run))
    for stage in (stages.prepare_data, stages.export_onnx, stages.simplify_onnx, stages.apply_surgery):
        _print(stage(recipe, run))
    bundle = pack_bundle(recipe, run, folder)
    run.finish("exported to a hand-over bundle; no case was run here")
    return _announce_next(f"{len(bundle.cases)} cases and the graph", f"cookbook compile {options.to}")


def _check_new_folder(text: str) -> Path:
    """Refuses a folder that cannot be written to, before stages that take minutes; leaves no empty folder."""
    from helpers.params.paths import create_output, expand_home

    folder = expand_home(text, "--to")
    exists = folder.exists()
    create_output(folder, "--to")
    if not exists:
        folder.rmdir()
    return folder


def _add_compile_arguments(parser: argparse.ArgumentParser) -> None:
    _add_bundle(parser)
    add_parameter_arguments(parser)


def _compile(options: argparse.Namespace) -> int:
    from helpers.interop.bundle import read_bundle
    from helpers.params.model import RunParams
    from helpers.stages.handover import compile_bundle

    bundle, result = compile_bundle(read_bundle(Path(options.bundle)), read_given(options, RunParams))
    _print(result)
    files = ", ".join(bundle.model.files) if bundle.model else "no compiled model"
    return _announce_next(files, f"cookbook infer {options.bundle}")


def _add_infer_arguments(parser: argparse.ArgumentParser) -> None:
    _add_bundle(parser)
    parser.add_argument("--devices", help="all, or numbers such as 0,1")
    parser.add_argument("--python", help="another interpreter that has the vendor's module")
    parser.add_argument(
        "--tool",
        choices=["msame", "benchmark", "ais_bench"],
        help="write the inputs for a vendor's tool and read its outputs",
    )
    parser.add_argument(
        "--chips", type=int, default=1, help="devices to divide the inputs among, for benchmark (default: 1)"
    )


def _infer(options: argparse.Namespace) -> int:
    from helpers.interop.bundle import read_bundle
    from helpers.interop.bundle_infer import infer_bundle

    bundle = read_bundle(Path(options.bundle))
    if options.tool:
        return _infer_with_tool(options, bundle)
    devices = options.devices if options.devices in (None, "all") else _read_numbers(options.devices)
    bundle = infer_bundle(bundle, devices=devices, python=options.python)
    for case in bundle.cases:
        note = bundle.notes[case.answer]
        sys.stdout.write(f"{case.id}: {note['seconds']} s{' simulated' if note.get('simulated') else ''}\n")
    return _announce_next(f"the outputs of {len(bundle.cases)} cases", f"cookbook score {options.bundle}")


def _infer_with_tool(options: argparse.Namespace, bundle: Bundle) -> int:
    from helpers.interop import bundle_infer

    exchange, need = bundle_infer.open_bundle_exchange(bundle, options.tool, options.chips)
    if not exchange.is_written:
        sys.stdout.write(f"{options.tool} reads windows from files: {need}\n")
        bundle_infer.write_exchange(bundle, exchange, need)
    missing = exchange.missing()
    if not missing:
        bundle_infer.answer_from_exchange(bundle, exchange)
        times = exchange.read_times()
        sys.stdout.write(f"measured by {options.tool}: {times}\n" if times else "")
        return _announce_next(f"the outputs of {len(bundle.cases)} cases", f"cookbook score {options.bundle}")
    sys.stdout.write(f"not run here: {missing:,} outputs are missing. Run this in {exchange.folder}:\n")
    for line in exchange.shown_commands(f"../../{bundle_infer.model_path(bundle)}"):
        sys.stdout.write(f"  {line}\n")
    sys.stdout.write("then repeat this command\n")
    return 1


def _add_score_arguments(parser: argparse.ArgumentParser) -> None:
    _add_bundle(parser)
    add_parameter_arguments(parser)


def _score(options: argparse.Namespace) -> int:
    from helpers import recipes, stages
    from helpers.interop.bundle import read_bundle
    from helpers.stages.handover import BundleAnswers, open_bundle_run

    bundle = read_bundle(Path(options.bundle))
    recipe, run = open_bundle_run(bundle, read_given(options, recipes.load(bundle.recipe).params_model))
    _print(stages.prepare_data(recipe, run))
    for result in stages.infer_cases(recipe, run, BundleAnswers(bundle, recipe, run)):
        _print(result)
    _print(stages.score_cases(recipe, run))
    _print(stages.draw_results(recipe, run))
    target = bundle.model.target["title"] if bundle.model else "another machine"
    run.finish(f"masks of a hand-over bundle that was run on {target}")
    sys.stdout.write(f"passed: {run.folder}\n")
    return 0


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="folder that `cookbook export` wrote")


def _read_numbers(text: str) -> list[int]:
    from helpers.errors import ParameterError

    # Longer numbers than any device has are no numbers for Python either.
    if not all(re.fullmatch(r"\s*[0-9]{1,9}\s*", part) for part in text.split(",")):
        raise ParameterError("invalid --devices", received=text, expected="all, or numbers such as 0,1")
    return [int(part) for part in text.split(",")]


def _print(result: object) -> None:
    sys.stdout.write(f"{result}\n")


def _announce_next(content: str, command: str) -> int:
    sys.stdout.write(f"in the bundle: {content}. Next, on this or another machine: {command}\n")
    return 0


HANDOVER_COMMANDS = {
    "export": Command("Write the graph and the prepared cases to a bundle.", _export, _add_export_arguments),
    "compile": Command("Compile a bundle's graph; needs no torch.", _compile, _add_compile_arguments),
    "infer": Command("Run a bundle's cases on the device; needs numpy only.", _infer, _add_infer_arguments),
    "score": Command("Make masks, scores and pictures from a bundle's outputs.", _score, _add_score_arguments),
}
