"""Runs the first stage of a cascade as a run of its own, with every check, before the second stage starts."""

from __future__ import annotations

from pathlib import Path

from helpers.errors import CookbookError
from helpers.params.model import RunParams
from helpers.recipes.base import Recipe
from helpers.run import Check, Run, StageOutput, StageResult
from helpers.run.digest import digest_file
from helpers.run.record import attach_log_file
from helpers.stages.compile import compile_model
from helpers.stages.data import prepare_data, selected_cases
from helpers.stages.graph import apply_surgery, export_onnx, inspect_graph, lint_graph, simplify_onnx
from helpers.stages.infer import infer_cases, mask_name
from helpers.stages.labels import open_run
from helpers.stages.parity import check_model_parity
from helpers.stages.score import score_cases

_STEPS = (
    prepare_data,
    export_onnx,
    simplify_onnx,
    apply_surgery,
    inspect_graph,
    lint_graph,
    compile_model,
    check_model_parity,
    infer_cases,
    score_cases,
)


def run_previous_stage(recipe: Recipe, run: Run) -> StageResult:
    """Computes the masks of a cascade's first stage; a model that is not a second stage needs none.

    The first stage is a run of its own in the same outputs folder, from its checkpoint to its scores. Results that it
    has already are reused.

    Raises:
        CookbookError: a step of the first stage failed.
    """
    params = recipe.model.previous_params(run.params)
    first = _run_first_stage(recipe, params) if params is not None else None
    attach_log_file(run.path("run.log"))
    names = [mask_name(recipe, first, case.id) for case in selected_cases(recipe, first)] if first else []

    def make(folder: Path) -> StageOutput:
        if first is None:
            return StageOutput(facts={"first stage": "none; this model needs no other model's masks"})
        checks = [
            Check(f"first stage: {result.title}, {check.name}", check.passed, check.figure)
            for result in first.results.values()
            for check in result.checks
        ]
        facts = {"run of the first stage": first.folder.name, "masks": len(names)}
        return StageOutput(tuple(checks), facts, next_step="Prepare the data.")

    masks = {name: digest_file(first.path(name)) for name in names} if first else {}
    inputs = {"masks": masks, "run": first.folder.name if first else ""}
    return run.perform("previous", "First stage of a cascade", inputs=inputs, make=make)


def _run_first_stage(recipe: Recipe, params: RunParams) -> Run:
    first = open_run(recipe, params)
    try:
        for step in _STEPS:
            step(recipe, first)
        first.finish("the first stage of a cascade")
    except CookbookError as error:
        first.fail(error)
        raise
    return first
