"""Tables and pictures of a comparison of runs, for the notebook."""

from __future__ import annotations

from pathlib import Path

from helpers.params.paths import place_output
from helpers.study.compare_runs import STEPS, Comparison
from helpers.view import figures
from helpers.view.show import Shown
from helpers.view.tables import html_table
from helpers.view.windows import load_window

_FOLDER = "comparisons"


def show_runs(comparison: Comparison) -> Shown:
    """The runs, the first of them is what the others are compared with."""
    rows = [
        (index, run.name, record["params"]["target"], record["params"]["precision"], len(run.cases))
        for index, (run, record) in enumerate(zip(comparison.runs, comparison.records, strict=True), start=1)
    ]
    return _table(("", "run", "target", "precision", "masks"), rows)


def show_differing_parameters(comparison: Comparison) -> Shown:
    """Parameters and versions that are not the same in all runs."""
    rows = comparison.differing_parameters() or [("nothing differs", *("" for _ in comparison.runs))]
    return _table(("parameter", *(run.name for run in comparison.runs)), rows)


def show_scores(comparison: Comparison) -> Shown:
    """Means of each run and the paired difference with its interval."""
    rows = [
        (row.score, run.name, *(f"{mean:.4f}" for mean in row.means), f"{row.mean:+.4f}",
         f"{row.low:+.4f} to {row.high:+.4f}", len(row.values), _verdict(row))
        for run in comparison.runs[1:]
        for row in comparison.differences(run)
    ]  # fmt: skip
    header = ("score", "run", "first run", "this run", "difference", "95 % interval", "cases", "")
    return _table(header, rows or [("no score in common", *("" for _ in header[1:]))])


def show_disagreements(comparison: Comparison) -> Shown:
    """Each case's masks against the first run's, worst first."""
    rows = [
        (run.name, row.case, f"{row.differing:,}", _percent(row.share), _score(row.dice))
        for run in comparison.runs[1:]
        for row in comparison.disagreements(run)
    ]
    return _table(("run", "case", "differing", "of all labelled", "Dice of the masks"), rows)


def show_times(comparison: Comparison) -> Shown:
    """Mean seconds of a case by step."""
    rows = [
        (name, *(f"{steps[step]:.3f}" for step in STEPS), f"{sum(steps.values()):.3f}")
        for name, steps in comparison.mean_seconds().items()
    ]
    return _table(("run", *(f"{step} s" for step in STEPS), "sum s"), rows)


def picture_of_scores(comparison: Comparison):
    """Each case's difference as a dot, with the mean and its interval."""
    differences = {
        f"{row.score}\n{run.name}": row for run in comparison.runs[1:] for row in comparison.differences(run)
    }
    values = {name: list(row.values.values()) for name, row in differences.items()}
    return _picture(comparison, figures.draw_differences(values), "scores.png")


def picture_of_worst(comparison: Comparison):
    """The case where a run's mask is farthest from the first run's."""
    worst = [(comparison.disagreements(run)[0], run) for run in comparison.runs[1:]]
    disagreement, run = max(worst, key=lambda pair: pair[0].share or 0.0)
    recipe, case_id = comparison.first.recipe, disagreement.case
    case, first, other = comparison.read(case_id, run)
    style = {"class_names": recipe.class_names, "compared": (comparison.first.name, run.name)}
    if case.geometry is None:
        figure = figures.draw_gallery(case_id, case.image, other, first, **style)
    else:
        window = load_window(comparison.first.params.grey_window or recipe.grey_window)
        channel = case.image[recipe.shown_channel]
        figure = figures.draw_montage(case_id, channel, other, first, geometry=case.geometry, window=window, **style)
    return _picture(comparison, figure, "worst.png")


def picture_of_times(comparison: Comparison):
    """Mean seconds of a case by step, one bar a run."""
    return _picture(comparison, figures.draw_case_times(comparison.mean_seconds()), "seconds.png")


def _picture(comparison: Comparison, figure, name: str):
    from IPython.display import Image

    return Image(filename=str(figures.save_figure(figure, comparison_folder(comparison) / name)))


def comparison_folder(comparison: Comparison) -> Path:
    """Where a comparison's pictures are kept, beside the runs."""
    hashes = "_".join(run.hash for run in comparison.runs)
    return place_output(comparison.first.params.outputs) / _FOLDER / f"{comparison.first.recipe.name}-{hashes}"


def _verdict(row) -> str:
    if len(row.values) < 5:
        return "few cases: the interval is too narrow"
    return "no difference shown" if row.low <= 0 <= row.high else "differs"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


def _table(header: tuple, rows: list[tuple]) -> Shown:
    text = "\n".join("  ".join(str(cell) for cell in row) for row in (header, *rows))
    return Shown(html_table(header, rows), text)
