"""Two or more finished runs side by side: what differs in their parameters, scores, masks and seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from helpers import recipes, stages
from helpers.data.case import Case
from helpers.errors import DataError
from helpers.params.paths import place_output
from helpers.qa.finished import FinishedRun, find_run, list_runs
from helpers.run.result import name_simulated
from helpers.run.run import run_folder
from helpers.scoring.bootstrap import mean_interval
from helpers.scoring.dice import dice
from helpers.study.parity_stage import check_model_parity

STEPS = ("read", "open", "infer", "write")


@dataclass(frozen=True)
class Disagreement:
    """How far the masks of one case are apart.

    Attributes:
        case: its id.
        differing: voxels or pixels with another label.
        share: of those that are labelled in either mask; None where nothing is.
        dice: of the masks' foregrounds; None where both are empty.
    """

    case: str
    differing: int
    share: float | None
    dice: float | None


@dataclass(frozen=True)
class PairedDifference:
    """A score of a run minus the same score of the first run, over the cases that have it in both.

    Attributes:
        score: its name.
        means: of the first and of the other run.
        values: the differences by case.
        mean, low, high: of the differences, with the 95 % bootstrap interval.
    """

    score: str
    means: tuple[float, float]
    values: Mapping[str, float]
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Runs of one recipe, the first one is what the others are compared with."""

    runs: Sequence[FinishedRun]

    @property
    def first(self) -> FinishedRun:
        """The run that the others are compared with."""
        return self.runs[0]

    @cached_property
    def cases(self) -> list[str]:
        """Ids of the cases that have a mask in every run."""
        others = [{case.id for case in run.cases} for run in self.runs[1:]]
        return [case.id for case in self.first.cases if all(case.id in ids for ids in others)]

    @cached_property
    def records(self) -> list[dict]:
        """`run.json` of each run."""
        return [json.loads(run.path("run.json").read_text(encoding="utf-8")) for run in self.runs]

    def differing_parameters(self) -> list[tuple[str, ...]]:
        """(name, value in each run) of parameters and versions that are not the same everywhere."""
        rows = []
        for record in self.records:
            machine, packages = record["environment"]["machine"], record["environment"]["packages"]
            versions = {f"version of {name}": version for name, version in packages.items()}
            rows.append({**record["params"], **versions, **{f"machine: {name}": v for name, v in machine.items()}})
        names = dict.fromkeys(name for row in rows for name in row)
        table = [(name, *(str(row.get(name)) for row in rows)) for name in names if name != "outputs"]
        return [row for row in table if len(set(row[1:])) > 1]

    def differences(self, other: FinishedRun) -> list[PairedDifference]:
        """Every score's paired differences between a run and the first."""
        found = []
        for name in self.first.recipe.score_names:
            pairs = {
                case: (self.first.scores[case][name], other.scores[case][name])
                for case in self.cases
                if self.first.scores.get(case, {}).get(name) is not None
                and other.scores.get(case, {}).get(name) is not None
            }
            if pairs:
                values = {case: b - a for case, (a, b) in pairs.items()}
                means = tuple(float(np.mean([pair[side] for pair in pairs.values()])) for side in (0, 1))
                found.append(PairedDifference(name, means, values, *mean_interval(np.array(list(values.values())))))
        return found

    def read(self, case_id: str, other: FinishedRun) -> tuple[Case, np.ndarray, np.ndarray]:
        """A case with the first run's mask and another's, class indices of the same shape."""
        files = next(case for case in self.first.cases if case.id == case_id)
        case = self.first.recipe.read_case(files, self.first.params)
        masks = [run.recipe.read_mask(run.mask_path(case_id), case) for run in (self.first, other)]
        return case, masks[0], masks[1]

    def disagreements(self, other: FinishedRun) -> list[Disagreement]:
        """Every common case, the largest share of differing labels first."""
        found = []
        for case_id in self.cases:
            _, mask, others = self.read(case_id, other)
            differing, labelled = int((mask != others).sum()), int(((mask > 0) | (others > 0)).sum())
            share = differing / labelled if labelled else None
            found.append(Disagreement(case_id, differing, share, dice(mask > 0, others > 0)))
        return sorted(found, key=lambda row: (-(row.share or 0.0), row.case))

    def mean_seconds(self) -> dict[str, dict[str, float]]:
        """Run name to the mean seconds of each step over the common cases, as recorded when masks were made.

        A run on a double of a device is called simulated.
        """
        found = {}
        for run, record in zip(self.runs, self.records, strict=True):
            timings = [record["stages"].get(f"infer/{case}", {}).get("timings", {}) for case in self.cases]
            simulated = any(record["stages"].get(f"infer/{case}", {}).get("simulated") for case in self.cases)
            name = name_simulated(run.name, simulated)
            found[name] = {step: _mean([part.get(step, 0.0) for part in timings]) for step in STEPS}
        return found


def choose_runs(recipe_name: str, names: Sequence[str] | str | None, outputs: str) -> Comparison:
    """The named runs, or the two newest that passed, the older one first.

    Raises:
        DataError: a run is not there, fewer than two are, or they have no case in common.
    """
    folder = place_output(outputs)
    if isinstance(names, str):  # papermill's -p passes text only
        names = [name.strip() for name in names.split(",") if name.strip()]
    if names:
        chosen = [find_run(folder, recipe_name, name) for name in dict.fromkeys(names)]
    else:
        chosen = list_runs(folder, recipe_name)[:2][::-1]
    if len(chosen) < 2:
        raise DataError(
            f"fewer than two runs of {recipe_name} to compare",
            received=", ".join(run.name for run in chosen) or "none",
            remedy=f"Run `python -m helpers run {recipe_name}` with another parameter, such as `-p precision bf16`.",
        )
    comparison = Comparison(chosen)
    if not comparison.cases:
        raise DataError("the runs have no case in common", received=", ".join(run.name for run in chosen))
    return comparison


def make_missing_runs(recipe_name: str, variants: Sequence[Mapping[str, object]], outputs: str) -> list[Path]:
    """Makes a run of each variant, as long as there are fewer than two that passed; nothing where there are.

    The notebook's gates all hold: checkpoint, graph, parity, masks and scores; only its pictures are left out.
    """
    made = []
    for variant in variants:
        there = list_runs(place_output(outputs), recipe_name)
        if len(there) >= 2:
            break
        params = recipes.load(recipe_name).prepare_params(**variant, outputs=outputs)
        if run_folder(params) in [run.folder for run in there]:
            continue  # a run that is there stays as it was made
        recipe, run = stages.start_run(recipe_name, {**variant, "outputs": outputs})
        stages.prepare_data(recipe, run)
        stages.export_onnx(recipe, run)
        stages.simplify_onnx(recipe, run)
        stages.apply_surgery(recipe, run)
        stages.compile_model(recipe, run)
        check_model_parity(recipe, run)
        stages.infer_cases(recipe, run)
        stages.score_cases(recipe, run)
        stages.finish_run(recipe, run)
        made.append(run.folder)
    return made


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
