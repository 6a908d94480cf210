"""Scores masks against the truth, judges them where a gate is set, and writes `metrics.json`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.data.case import CaseFiles
from helpers.params.yaml_file import refuse_unknown_name
from helpers.recipes.base import Recipe
from helpers.run import Check, Made, Run, StageResult
from helpers.run.atomic import write_json
from helpers.run.digest import digest_file
from helpers.stages.compile import digest_compiled
from helpers.stages.data import CasesOnDemand, digest_case, selected_cases
from helpers.stages.infer import mask_name, run_call


def score_cases(recipe: Recipe, run: Run) -> StageResult:
    """The recipe's scores of every case that has a truth, their means, and `metrics.json`.

    Raises:
        GateError: a mean lies below `minimum_scores` (on demo data: below the recipe's own).
        ParameterError: `minimum_scores` names a score that the recipe does not have.
    """
    cases = [case for case in selected_cases(recipe, run) if case.truth is not None]
    minimum = run.params.scores_to_reach()
    for name in minimum:
        if name not in recipe.score_names:
            raise refuse_unknown_name("score in minimum_scores", name, recipe.score_names)

    def make(folder: Path) -> Made:
        scored = {case.id: _score_case(recipe, run, case) for case in cases}
        scores = {name: values for name, (values, _) in scored.items()}
        means = recipe.aggregate(list(scores.values()), [tally for _, tally in scored.values()])
        means = {name: _rounded(value) for name, value in means.items()}
        write_json(folder / "metrics.json", {"recipe": recipe.name, "cases": scores, "mean": means})
        checks = tuple(_judge(name, means[name], least, len(cases)) for name, least in minimum.items())
        facts = {name: _show(value) for name, value in means.items()} if cases else {}
        facts["cases with truth"] = len(cases)
        if cases and not minimum:
            facts["gate"] = "none: scores are reported, not judged (set minimum_scores to judge)"
        return Made(checks, facts, {"cases": scores, "mean": means}, "Look at the masks.")

    inputs = {
        "cases": {case.id: digest_case(case) for case in cases},
        "masks": {case.id: digest_file(run.path(mask_name(recipe, case.id))) for case in cases},
        "minimum": minimum,
    }
    return run.perform("score", "Scores", inputs=inputs, make=make)


def score_as_source(recipe: Recipe, run: Run) -> StageResult:
    """The source's own score beside the right one, and what it is worth."""
    cases = [case for case in selected_cases(recipe, run) if case.truth is not None]

    def make(folder: Path) -> Made:
        with run_call(recipe, run) as call:
            read = CasesOnDemand(recipe, run, cases)
            result = recipe.score_as_source(read, call, _untrained(recipe, run), run.params)
        if result is None:
            return Made((), {"source's score": "none for these cases"}, {})
        facts = {
            row: ", ".join(f"{name} {_show(value)}" for name, value in values.items())
            for row, values in result.rows.items()
        }
        return Made((), {**facts, "why": result.explanation}, {"rows": dict(result.rows)})

    inputs = {
        "cases": {case.id: digest_case(case) for case in cases},
        "model": digest_compiled(run),
        "params": run.params.model_dump(mode="json", exclude={"profile", *run.params.NOT_HASHED}),
    }
    return run.perform("source_score", "The source's own score", inputs=inputs, make=make)


def _untrained(recipe: Recipe, run: Run):
    """The run's network with fresh random weights of a fixed seed, on the CPU in torch."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, _ = recipe.trained_network(run.params)
        for module in network.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        network = recipe.graph_network(network, run.params).eval()

    def infer(batch):
        with torch.inference_mode():
            return network(torch.from_numpy(batch)).numpy()

    return infer


def _score_case(recipe: Recipe, run: Run, files: CaseFiles) -> tuple[dict[str, float | None], np.ndarray | None]:
    case = recipe.read_case(files, run.params)
    prediction = recipe.read_mask(run.path(mask_name(recipe, files.id)), case)
    scores = {name: _rounded(value) for name, value in recipe.score(prediction, case.truth).items()}
    return scores, recipe.tally(prediction, case.truth)


def _rounded(value: float | None) -> float | None:
    # Six digits are more than any case can tell, and keep metrics.json the same on every machine.
    return None if value is None else round(value, 6)


def _judge(name: str, mean: float | None, least: float, count: int) -> Check:
    passed = mean is not None and mean >= least
    return Check(f"{name} over {count} cases", passed, f"{_show(mean)}, at least {least:g}")


def _show(value: float | None) -> str:
    return "nothing to find" if value is None else f"{value:.4f}"
