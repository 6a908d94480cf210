"""Compares finished runs of one recipe: their parameters, scores, masks and times, as tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers import recipes, stages
from helpers.data.case import Case
from helpers.errors import DataError
from helpers.params.paths import place_output
from helpers.params.renamed import rename_parameters
from helpers.qa.finished import FinishedRun, find_run, list_runs
from helpers.run import read_record
from helpers.run.result import name_simulated
from helpers.run.run import run_folder
from helpers.scoring.bootstrap import FEWEST_CASES, mean_interval
from helpers.scoring.dice import dice
from helpers.scoring.paired import PairedTest, adjust_for_number, compare_pairs, mean_ranks
from helpers.scoring.volume_metrics import METRICS, metric_name, metric_of
from helpers.stages.parity import check_model_parity
from helpers.view import figures
from helpers.view.tables import RichText, table
from helpers.view.windows import load_window

if TYPE_CHECKING:
    from IPython.display import Image
    from matplotlib.figure import Figure

STEPS = ("read", "open", "infer", "write")
_FOLDER = "comparisons"
# With fewer cases a bootstrap interval is too narrow to be trusted.
_MINIMUM_CASES = FEWEST_CASES
_CASES_NAMED = 3


@dataclass(frozen=True)
class Disagreement:
    """How much the masks of one case differ.

    Attributes:
        case: its id.
        differing: voxels or pixels with different labels.
        share: these as a fraction of all that are labelled in either mask; None if nothing is labelled.
        dice: Dice of the two foregrounds; None if both are empty.
    """

    case: str
    differing: int
    share: float | None
    dice: float | None


@dataclass(frozen=True)
class PairedDifference:
    """A score of one run minus the same score of the first run, over the cases that have it in both.

    Attributes:
        score: the score's name.
        means: means of the first and of the other run.
        values: the differences by case.
        mean: mean of the differences.
        interval: the mean's 95 % bootstrap interval; None for a single case, or if all differences are equal.
        test: in how many cases the run is better or worse, whether that is more than chance, and which cases decide.
    """

    score: str
    means: tuple[float, float]
    values: Mapping[str, float]
    mean: float
    interval: tuple[float, float] | None
    test: PairedTest


@dataclass(frozen=True)
class Comparison:
    """Runs of one recipe; the others are compared with the first."""

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
        return [read_record(run.folder) for run in self.runs]

    def differing_parameters(self) -> list[tuple[str, ...]]:
        """(name, value in each run) for every parameter, version and machine property that differs."""
        rows = []
        for record in self.records:
            machine, packages = record["environment"]["machine"], record["environment"]["packages"]
            versions = {f"version of {name}": version for name, version in packages.items()}
            params = rename_parameters(record["params"], type(self.first.params).model_fields)
            rows.append({**params, **versions, **{f"machine: {name}": v for name, v in machine.items()}})
        names = dict.fromkeys(name for row in rows for name in row)
        listed = [(name, *(str(row.get(name)) for row in rows)) for name in names if name != "outputs"]
        return [row for row in listed if len(set(row[1:])) > 1]

    def differences(self, other: FinishedRun, names: Sequence[str] | None = None) -> list[PairedDifference]:
        """The paired differences between a run and the first: of every score, or of the named scores and metrics."""
        found = [self._difference(other, name) for name in (self.first.score_names if names is None else names)]
        return [row for row in found if row is not None]

    def _difference(self, other: FinishedRun, name: str) -> PairedDifference | None:
        before, after = self.values(self.first, name), self.values(other, name)
        cases = [case for case in before if case in after]
        if not cases:
            return None
        befores, afters = (np.array([own[case] for case in cases]) for own in (before, after))
        changes, means = afters - befores, (float(befores.mean()), float(afters.mean()))
        values = {case: after[case] - before[case] for case in cases}
        test = compare_pairs(before, after, metric_of(name).better)
        return PairedDifference(name, means, values, float(changes.mean()), mean_interval(changes), test)

    def values(self, run: FinishedRun, name: str) -> dict[str, float]:
        """A score or metric by case, over the common cases that have it."""
        found = {case: run.values.get(case, {}).get(name) for case in self.cases}
        return {case: value for case, value in found.items() if value is not None}

    @cached_property
    def metric_names(self) -> tuple[str, ...]:
        """The surface and lesion metrics that every run has, by the same rules."""
        rules = [run.volume_metrics.get("rules", {}) for run in self.runs]
        same = {name for name, rule in rules[0].items() if all(other.get(name) == rule for other in rules[1:])}
        return tuple(
            metric_name(metric, structure)
            for structure in rules[0]
            for metric in METRICS
            if structure in same and all(metric_name(metric, structure) in run.metric_names for run in self.runs)
        )

    def differing_rules(self) -> list[str]:
        """The structures whose metrics cannot be compared, because the runs measured them by different rules."""
        rules = [run.volume_metrics.get("rules", {}) for run in self.runs]
        common = [name for name in rules[0] if all(name in other for other in rules[1:])]
        return [name for name in common if any(other[name] != rules[0][name] for other in rules[1:])]

    def read(self, case_id: str, other: FinishedRun) -> tuple[Case, np.ndarray, np.ndarray]:
        """A case with its masks in the first run and in another, class indices (Z, Y, X) or (H, W)."""
        files = next(case for case in self.first.cases if case.id == case_id)
        case = self.first.recipe.cases.read_case(files, self.first.params)
        masks = [run.recipe.cases.read_mask(run.mask_path(case_id), case) for run in (self.first, other)]
        return case, masks[0], masks[1]

    def disagreements(self, other: FinishedRun) -> list[Disagreement]:
        """Every common case, ordered by its share of differing labels, largest first."""
        found = []
        for case_id in self.cases:
            _, mask, others = self.read(case_id, other)
            differing, labelled = int((mask != others).sum()), int(((mask > 0) | (others > 0)).sum())
            share = differing / labelled if labelled else None
            found.append(Disagreement(case_id, differing, share, dice(mask > 0, others > 0)))
        return sorted(found, key=lambda row: (-(row.share or 0.0), row.case))

    def mean_seconds(self) -> dict[str, dict[str, float]]:
        """Mean seconds of each step by run name, over the common cases and as recorded when the masks were made.

        The name of a run on a device's double is marked as simulated.
        """
        found = {}
        for run, record in zip(self.runs, self.records, strict=True):
            timings = [record["stages"].get(f"infer/{case}", {}).get("timings", {}) for case in self.cases]
            simulated = any(record["stages"].get(f"infer/{case}", {}).get("simulated") for case in self.cases)
            name = name_simulated(run.name, simulated)
            found[name] = {step: _mean([part.get(step, 0.0) for part in timings]) for step in STEPS}
        return found


def choose_runs(recipe_name: str, names: Sequence[str] | str | None, outputs: str) -> Comparison:
    """The named runs, or else the two newest that passed, the older one first.

    Args:
        recipe_name: the recipe of all runs.
        names: names of run folders, also as one text separated by commas.
        outputs: the outputs folder.

    Raises:
        DataError: a run does not exist, there are fewer than two, or they have no case in common.
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
            remedy=f"Run `cookbook run {recipe_name}` with another parameter, such as `-p precision bf16`.",
        )
    for run in chosen:
        run.restore_demo_cases()
    comparison = Comparison(chosen)
    if not comparison.cases:
        raise DataError("the runs have no case in common", received=", ".join(run.name for run in chosen))
    return comparison


def make_missing_runs(recipe_name: str, variants: Sequence[Mapping[str, object]], outputs: str) -> list[Path]:
    """Runs one variant after another until two runs have passed.

    All gates of the notebook apply (checkpoint, graph, parity, masks and scores); only the pictures are left out. A
    variant whose run exists already is skipped.

    Args:
        recipe_name: the recipe.
        variants: the parameters of each run.
        outputs: the outputs folder.

    Returns:
        The folders of the new runs.
    """
    made = []
    for variant in variants:
        existing = list_runs(place_output(outputs), recipe_name)
        if len(existing) >= 2:
            break
        params = recipes.load(recipe_name).prepare_params(**variant, outputs=outputs)
        if run_folder(params) in [run.folder for run in existing]:
            continue
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


def show_runs(comparison: Comparison) -> RichText:
    """Table of the runs; the others are compared with the first."""
    rows = [
        (index, run.name, record["params"]["target"], record["params"]["precision"], len(run.cases))
        for index, (run, record) in enumerate(zip(comparison.runs, comparison.records, strict=True), start=1)
    ]
    return table(("", "run", "target", "precision", "masks"), rows)


def show_differing_parameters(comparison: Comparison) -> RichText:
    """Table of the parameters and versions that differ."""
    rows = comparison.differing_parameters() or [("no difference", *("" for _ in comparison.runs))]
    return table(("parameter", *(run.name for run in comparison.runs)), rows)


def show_scores(comparison: Comparison) -> RichText:
    """Table of the mean scores of each run, and their paired differences with intervals."""
    header, rows = _difference_rows(comparison, None)
    return table(header, rows or [("no score in common", *("" for _ in header[1:]))])


def _difference_rows(
    comparison: Comparison, names: Sequence[str] | None
) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    rows: list[tuple[object, ...]] = [
        (row.score, run.name, *(f"{mean:.4f}" for mean in row.means), f"{row.mean:+.4f}",
         "–" if row.interval is None else "{:+.4f} to {:+.4f}".format(*row.interval), len(row.values), _verdict(row))
        for run in comparison.runs[1:]
        for row in comparison.differences(run, names)
    ]  # fmt: skip
    return ("score", "run", "first run", "this run", "difference", "95 % interval", "cases", ""), rows


def show_metrics(comparison: Comparison) -> RichText:
    """Table of the surface and lesion metrics of each run, as `show_scores`; of volumes only."""
    header, rows = _difference_rows(comparison, comparison.metric_names)
    differing = comparison.differing_rules()
    rows += [(name, "not compared: measured by different rules", *("" for _ in header[2:])) for name in differing]
    return table(header, rows or [("no metric in common", *("" for _ in header[1:]))])


def show_tests(comparison: Comparison) -> RichText:
    """Table of a signed-rank test for each score and metric, and of the cases that decide each difference."""
    header = ("score", "run", "better", "equal", "worse", "p", "p, adjusted", "without these, no difference")
    rows = []
    for run in comparison.runs[1:]:
        found = comparison.differences(run, (*comparison.first.score_names, *comparison.metric_names))
        adjusted = adjust_for_number([row.test.p for row in found])
        for row, p in zip(found, adjusted, strict=True):
            test = row.test
            shown = (_p_value(test.p), _p_value(p)) if test.p is not None else ("few cases differ", "–")
            rows.append(
                (row.score, run.name, test.better, test.equal, test.worse, *shown, _name_cases(test.turned_by))
            )
    return table(header, rows or [("no score in common", *("" for _ in header[1:]))])


def show_ranks(comparison: Comparison) -> RichText:
    """Table of the mean rank of each run over the cases, 1 for the best, and the mean over all scores and metrics."""
    rows, found = [], []
    for name in (*comparison.first.score_names, *comparison.metric_names):
        values = {run.name: comparison.values(run, name) for run in comparison.runs}
        ranks = mean_ranks(values, metric_of(name).better)
        if ranks:
            found.append([ranks[run.name] for run in comparison.runs])
            rows.append((name, *(f"{rank:.2f}" for rank in found[-1])))
    if found:
        rows.append(("mean of these", *(f"{rank:.2f}" for rank in np.mean(found, axis=0))))
    header = ("mean rank by case", *(run.name for run in comparison.runs))
    return table(header, rows or [("no score in common", *("" for _ in header[1:]))])


def show_disagreements(comparison: Comparison) -> RichText:
    """Table of how much the masks of each case differ from the first run's, worst first."""
    rows = [
        (run.name, row.case, f"{row.differing:,}", _percent(row.share), _score(row.dice))
        for run in comparison.runs[1:]
        for row in comparison.disagreements(run)
    ]
    return table(("run", "case", "differing labels", "of all labelled", "Dice of the masks"), rows)


def show_times(comparison: Comparison) -> RichText:
    """Table of the mean seconds per case, by step."""
    rows = [
        (name, *(f"{steps[step]:.3f}" for step in STEPS), f"{sum(steps.values()):.3f}")
        for name, steps in comparison.mean_seconds().items()
    ]
    return table(("run", *(f"{step} s" for step in STEPS), "total s"), rows)


def plot_scores(comparison: Comparison) -> Image:
    """Picture of the differences: one dot per case, the mean and its interval."""
    differences = {
        f"{row.score}\n{run.name}": row for run in comparison.runs[1:] for row in comparison.differences(run)
    }
    values = {name: list(row.values.values()) for name, row in differences.items()}
    return _picture(comparison, figures.draw_differences(values), "scores.png")


def plot_worst_case(comparison: Comparison) -> Image:
    """Picture of the case whose mask differs most from the first run's."""
    worst = [(comparison.disagreements(run)[0], run) for run in comparison.runs[1:]]
    disagreement, run = max(worst, key=lambda pair: pair[0].share or 0.0)
    recipe, case_id = comparison.first.recipe, disagreement.case
    case, first, other = comparison.read(case_id, run)
    names, compared = comparison.first.labels.names, (comparison.first.name, run.name)
    if case.geometry is None:
        figure = figures.draw_gallery(case_id, case.image, other, first, names, compared=compared)
    else:
        settings = recipe.picture_settings(comparison.first.params)
        figure = figures.draw_montage(
            case_id,
            case.image[settings.channel],
            other,
            first,
            geometry=case.geometry,
            window=load_window(settings.grey_window),
            class_names=names,
            compared=compared,
        )
    return _picture(comparison, figure, "worst.png")


def plot_times(comparison: Comparison) -> Image:
    """Picture of the mean seconds per case, one bar per run, split by step."""
    return _picture(comparison, figures.draw_case_times(comparison.mean_seconds()), "seconds.png")


def _picture(comparison: Comparison, figure: Figure, name: str) -> Image:
    from IPython.display import Image

    return Image(filename=str(figures.save_figure(figure, comparison_folder(comparison) / name)))


def comparison_folder(comparison: Comparison) -> Path:
    """The folder of a comparison's pictures, next to the runs."""
    hashes = "_".join(run.hash for run in comparison.runs)
    return place_output(comparison.first.params.outputs) / _FOLDER / f"{comparison.first.recipe.name}-{hashes}"


def _verdict(row: PairedDifference) -> str:
    if len(row.values) < _MINIMUM_CASES:
        return "few cases: the interval is too narrow"
    low, high = row.interval or (row.mean, row.mean)
    return "no difference shown" if low <= 0 <= high else "differs"


def _p_value(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _name_cases(cases: Sequence[str]) -> str:
    shown = ", ".join(cases[:_CASES_NAMED])
    return f"{shown} and {len(cases) - _CASES_NAMED} more" if len(cases) > _CASES_NAMED else shown or "–"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"
