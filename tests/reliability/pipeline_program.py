"""Runs the tiny recipe from its checkpoint to its scores in a process that a test may kill.

Imports everything, prints "ready" and waits for a line, so that a test can time its signal by the stages.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numba  # noqa: F401
import onnx  # noqa: F401
import onnxruntime  # noqa: F401
import openvino  # noqa: F401
import SimpleITK  # noqa: F401
import torch  # noqa: F401

from helpers import recipes, stages

TINY = Path(__file__).parents[1] / "stages" / "tiny_recipe.py"
STAGES = (
    stages.prepare_data,
    stages.export_onnx,
    stages.simplify_onnx,
    stages.apply_surgery,
    stages.inspect_graph,
    stages.lint_graph,
    stages.compile_model,
    stages.check_model_parity,
    stages.exchange_with_tool,
    stages.infer_cases,
    stages.score_cases,
    stages.finish_run,
)


def main(params_folder: str, given: str) -> None:
    """Performs every stage of one run, with the parameters `given` as JSON."""
    spec = importlib.util.spec_from_file_location("tiny_recipe", TINY)
    sys.modules["tiny_recipe"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    recipes.register("tiny", "tiny_recipe:RECIPE", params_folder=Path(params_folder))
    _answer("ready")
    sys.stdin.readline()
    recipe, run = stages.start_run("tiny", json.loads(given))
    for stage in STAGES:
        stage(recipe, run)


def _answer(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
