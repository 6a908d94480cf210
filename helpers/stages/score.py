"""Scores masks against the truth, compares the means with the minimum scores, and writes `metrics.json`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from helpers.data.case import Case, CaseFiles
from helpers.inference.time_limit import BoundedPredictor, OutOfTimeError, TimeLimit
from helpers.params.yaml_file import unknown_name_error
from helpers.recipes.base import Recipe, SourceScores
from helpers.run import Check, Run, StageOutput, StageResult
from helpers.run.atomic import write_json
from helpers.run.digest import digest_file
from helpers.scoring.geometry_suspect import Suspicion, suspect_geometry
from helpers.scoring.volume_metrics import CaseMetrics, metric_names
from helpers.stages.artifact import digest_compiled
from helpers.stages.data import CasesOnDemand, data_root, digest_case, selected_cases
from helpers.stages.infer import MASK_STEPS, mask_name, open_predictor
from helpers.stages.labels import run_labels, run_score_names
from helpers.stages.volume_metrics import describe, judge_maximum, measure_volume, summarise

# If undoing a flip gives at least this Dice, the flip is an error and not a coincidence of shapes.
_SURE_DICE = 0.7
# Of the seconds that the masks took, for the source's own score: preparing or restoring a case is not interrupted.
_SHARE_OF_MASKS = 0.8
_TOO_LONG = "Not computed: it takes longer than the masks did. Set source_score: complete to compute it."


def score_cases(recipe: Recipe, run: Run) -> StageResult:
    """Scores every case that has a truth, and writes the scores and their means to `metrics.json`.

    If the model's own training set is scored, the means cover its held-out cases only; those of the other cases are
    reported as `trained_on`.

    Raises:
        GateError: a mean is beyond `minimum_scores` (on demo data, by default the profile's) or `maximum_scores`.
        ParameterError: `minimum_scores` names a score that the run does not have.
    """
    cases = [case for case in selected_cases(recipe, run) if case.truth is not None]
    minimum = _minimum_scores(recipe, run)
    held_out = recipe.cases.held_out(data_root(recipe, run), run.params)

    def make(folder: Path) -> StageOutput:
        scored = {case.id: _score_case(recipe, run, case) for case in cases}
        counted, values = _sum_up(recipe, run, scored, held_out)
        write_json(folder / "metrics.json", {"recipe": recipe.name, **values})
        figures = {name: case.figures for name, case in counted.items() if case.figures}
        for name, content in recipe.scoring.reports(figures, run.params).items() if figures else ():
            write_json(folder / name, content)
        checks = _judge_means(run, minimum, values, len(counted))
        # With a score below its limit every suspicion is reported; an evident flip or axis order fails the run alone.
        low = not all(check.passed for check in checks)
        suspects = {name: case for name, case in scored.items() if case.misplaced or (low and case.suspicion)}
        checks += [_judge_geometry(name, case.suspicion) for name, case in suspects.items()]
        facts = _facts_of(values, scored, counted)
        facts |= {} if checks or not cases else {"gate": "none; set minimum_scores to fail the run on a low mean"}
        return StageOutput(tuple(checks), facts, values, "View the masks.")

    inputs = {
        "cases": {case.id: digest_case(case) for case in cases},
        "masks": {case.id: digest_file(run.require_file(mask_name(recipe, run, case.id))) for case in cases},
        "minimum": [minimum, run_score_names(recipe, run)],
        "rules": recipe.model.cache_key_extras(run.params),
        "held_out": held_out,
        "metrics": _what_metrics_need(recipe, run, cases),
    }
    return run.perform("score", "Scores", inputs=inputs, make=make, code=(recipe.cases, recipe.scoring))


def _minimum_scores(recipe: Recipe, run: Run) -> dict[str, float]:
    minimum = run.params.scores_to_reach()
    known = (*run_score_names(recipe, run), *metric_names(recipe.metric_rules(run.params)))
    if run.params.minimum_scores is None:
        # The minimum scores of the demo weights do not apply to a model with other labels.
        return {name: limit for name, limit in minimum.items() if name in known}
    for name in minimum:
        if name not in known:
            raise unknown_name_error("score", name, known, where="in minimum_scores")
    return minimum


def score_as_source(recipe: Recipe, run: Run) -> StageResult:
    """Shows the source's own score next to the correct one, and explains the difference."""
    cases = [case for case in selected_cases(recipe, run) if case.truth is not None]
    seconds = _seconds_of_masks(run) if run.params.source_score == "bounded" else math.inf

    def make(folder: Path) -> StageOutput:
        if run.params.source_score == "skip" or not cases:
            why = "skipped (source_score)" if cases else "none: no case has a truth"
            return StageOutput((), {"source's score": why})
        limit = TimeLimit(_SHARE_OF_MASKS * seconds)
        with open_predictor(recipe, run) as predictor:
            read = _CasesWithMasks(recipe, run, cases)
            try:
                result = recipe.scoring.score_as_source(read, BoundedPredictor(predictor, limit), run.params)
            except OutOfTimeError:
                result = SourceScores({}, _TOO_LONG)
        return StageOutput((), *_show_source_scores(result), simulated=predictor.simulated)

    inputs = {
        "cases": {case.id: digest_case(case) for case in cases},
        "masks": {case.id: digest_file(path) for case in cases if (path := _mask_path(recipe, run, case)).is_file()},
        "model": digest_compiled(run),
        "rules": recipe.model.cache_key_extras(run.params),
        "params": run.params.model_dump(mode="json", exclude={"profile", *run.params.NOT_HASHED}),
    }
    return run.perform(
        "source_score",
        "The source's own score",
        inputs=inputs,
        make=make,
        code=(recipe.model, recipe.cases, recipe.preparation, recipe.scoring),
    )


class _CasesWithMasks(CasesOnDemand):
    """Cases with the run's masks, which a comparison need not make again."""

    def __init__(self, recipe: Recipe, run: Run, files: Sequence[CaseFiles]):
        super().__init__(recipe, run, files)
        self._paths = {case.id: _mask_path(recipe, run, case) for case in files}

    def _read(self, files: CaseFiles) -> Case:
        case, path = super()._read(files), self._paths[files.id]
        return replace(case, prediction=self._recipe.cases.read_mask(path, case)) if path.is_file() else case


def _mask_path(recipe: Recipe, run: Run, files: CaseFiles) -> Path:
    return run.folder / mask_name(recipe, run, files.id)


def _what_metrics_need(recipe: Recipe, run: Run, cases: Sequence[CaseFiles]) -> list[object]:
    """Rules and limits of the surface and lesion metrics, and the digests of saved probabilities."""
    rules = {name: rule.to_json() for name, rule in recipe.metric_rules(run.params).items()}
    paths: dict[str, Path] = {}
    if recipe.preparation.keeps_probabilities(run.params):
        paths = {case.id: _mask_path(recipe, run, case).with_name(f"{case.id}.npz") for case in cases}
    saved = {name: digest_file(path) for name, path in paths.items() if path.is_file()}
    return [rules, run.params.maximum_scores, saved]


def _seconds_of_masks(run: Run) -> float:
    """How long the masks of this run took, whether it made them or reused them; infinity if it has none yet."""
    found = [result.timings for name, result in run.results.items() if name.startswith("infer/")]
    return sum(timings.get(step, 0.0) for timings in found for step in MASK_STEPS) if found else math.inf


def _show_source_scores(result: SourceScores | None) -> tuple[dict[str, object], dict[str, object]]:
    """The facts and the values of the stage."""
    if result is None:
        return {"source's score": "none for these cases"}, {}
    facts: dict[str, object] = {
        row: ", ".join(f"{name} {_show(value)}" for name, value in values.items())
        for row, values in result.rows.items()
    }
    facts |= {"computed on": result.done} if result.done else {}
    return {**facts, "why": result.explanation}, {"rows": dict(result.rows)}


@dataclass(frozen=True)
class _ScoredCase:
    scores: dict[str, float | None]
    tally: np.ndarray | None
    suspicion: Suspicion | None
    figures: dict[str, object]
    metrics: CaseMetrics | None

    @property
    def misplaced(self) -> bool:
        """Whether a flip or a swap of axes explains the low score so well that the mask must be misplaced."""
        found = self.suspicion
        return found is not None and found.axis_order is not None and found.dice_if_undone >= _SURE_DICE


def _score_case(recipe: Recipe, run: Run, files: CaseFiles) -> _ScoredCase:
    case, labels = recipe.cases.read_case(files, run.params), run_labels(recipe, run)
    truth = case.require_truth()
    prediction = recipe.cases.read_mask(run.path(mask_name(recipe, run, files.id)), case)
    scores = recipe.scoring.score(prediction, truth, run.params)
    scores = {name: _rounded(value) for name, value in scores.items()}
    suspicion = None
    if case.geometry is not None:
        ignored = truth == (-1 if labels.ignore is None else labels.ignore)
        suspicion = suspect_geometry(np.where(ignored, 0, prediction), np.where(ignored, 0, truth))
    figures = recipe.scoring.describe_case(prediction, truth, run.params)
    tally = recipe.scoring.tally(prediction, truth, run.params)
    return _ScoredCase(scores, tally, suspicion, figures, measure_volume(recipe, run, case, prediction))


def _sum_up(
    recipe: Recipe, run: Run, scored: dict[str, _ScoredCase], held_out: list[str] | None
) -> tuple[dict[str, _ScoredCase], dict]:
    """The cases that count in the means, and the content of `metrics.json`."""
    known = set(scored if held_out is None else held_out)
    counted = {name: case for name, case in scored.items() if name in known}
    scores = {name: case.scores for name, case in scored.items()}
    values: dict = {"cases": scores, "mean": _means(recipe, run, counted)}
    if held_out is not None:
        seen = {name: case for name, case in scored.items() if name not in known}
        values |= {"held_out": list(counted), "trained_on": _means(recipe, run, seen)}
    measured = {name: case.metrics for name, case in scored.items() if case.metrics is not None}
    if measured:
        rules = recipe.metric_rules(run.params)
        values["volume_metrics"] = summarise(rules, measured, scores, list(counted))
    return counted, values


def _facts_of(values: dict, scored: dict[str, _ScoredCase], counted: Iterable[str]) -> dict[str, object]:
    count = len(scored)
    facts: dict[str, object] = {name: _show(value) for name, value in values["mean"].items()} if count else {}
    if "held_out" in values:
        facts["held out"] = f"{len(values['held_out'])} of {count} cases; only these count in the means above"
        seen = values["trained_on"].items()
        facts |= {f"{name} on training cases": _show(value) for name, value in seen if value is not None}
    facts |= describe(values["volume_metrics"], list(counted)) if "volume_metrics" in values else {}
    doubtful = {name: case for name, case in scored.items() if case.suspicion}
    facts |= {f"check the geometry of {name}": str(case.suspicion) for name, case in doubtful.items()}
    return {**facts, "cases with truth": count}


def _means(recipe: Recipe, run: Run, scored: dict[str, _ScoredCase]) -> dict[str, float | None]:
    scores, tallies = [case.scores for case in scored.values()], [case.tally for case in scored.values()]
    means = recipe.scoring.aggregate(scores, tallies, run.params)
    return {name: _rounded(value) for name, value in means.items()}


def _rounded(value: float | None) -> float | None:
    # Six digits are more than the data supports, and few enough for the same metrics.json on every machine.
    return None if value is None else round(value, 6)


def _judge_means(run: Run, minimum: dict[str, float], values: dict, count: int) -> list[Check]:
    means = {**values["mean"], **values.get("volume_metrics", {}).get("mean", {})}
    checks = [_judge(name, means.get(name), limit, count) for name, limit in minimum.items()]
    maximum = run.params.maximum_scores
    return checks + [judge_maximum(name, means.get(name), limit, count) for name, limit in maximum.items()]


def _judge(name: str, mean: float | None, minimum: float, count: int) -> Check:
    passed = mean is not None and mean >= minimum
    return Check(
        f"{name} over {count} case{'' if count == 1 else 's'}", passed, f"{_show(mean)}, at least {minimum:g}"
    )


def _judge_geometry(name: str, suspicion: Suspicion | None) -> Check:
    return Check(f"geometry of {name}", False, str(suspicion))


def _show(value: float | None) -> str:
    return "nothing to find" if value is None else f"{value:.4f}"
