"""The steps of the visual QA notebook."""

from __future__ import annotations

import getpass
import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.errors import DataError
from helpers.params.paths import find_input, place_output
from helpers.qa.adjudication import list_rejected, read_adjudications
from helpers.qa.agreement_files import describe_kappa, disagreement_rows, list_kappas, write_agreement
from helpers.qa.editing import export_case, import_mask
from helpers.qa.finished import find_run
from helpers.qa.journal import QA_CSV, REJECTED_CSV, export_rejected, export_verdicts
from helpers.qa.review import MEAN_SCORE, Review, ReviewCase, open_review, review_folder
from helpers.view.progress import is_interactive
from helpers.view.tables import RichText, html_table, note, show_score, table, text_table

if TYPE_CHECKING:
    from helpers.qa.desk import Desk

_HEADLESS = "Headless run: the table and the pictures replace the desk; open this notebook in JupyterLab to review."


def start_review(
    recipe: str | None,
    *,
    run: str | None = None,
    compare_with: str | None = None,
    reader: str | None = None,
    outputs: str = "outputs",
    interactive: bool | None = None,
    order_by: str | None = None,
) -> Review:
    """Opens a finished run for review.

    Args:
        recipe: whose runs; None: of all recipes.
        run: name of a run folder; None: the newest.
        compare_with: name of another run folder of the recipe; None: no comparison.
        reader: the name that verdicts are signed with; None: the login name.
        outputs: the folder of the runs.
        interactive: overrides the detection of an open notebook.
        order_by: which cases come first, such as "HD95 WT" or "disagreement of readers"; None: by the mean score.

    Raises:
        DataError: there is no such run, or a file of a case cannot be read.
        ParameterError: `order_by` is none of the review's `order_names`.
    """
    folder = place_output(outputs)
    chosen = find_run(folder, recipe, run)
    other = find_run(folder, chosen.recipe.name, compare_with) if compare_with else None
    return open_review(chosen, reader or getpass.getuser(), folder, other, interactive, order_by or MEAN_SCORE)


def show_review(review: Review) -> RichText:
    """Shows the cases as a static table, the worst first, with the reasons for their flags."""
    review.refresh()  # the desk may have judged meanwhile
    header = ("case", *_shown_names(review), "flags", "reasons", "verdicts")
    return table(header, [_case_row(review, case) for case in review.cases])


def open_desk(review: Review, viewer: str | None = None, interactive: bool | None = None) -> Desk | RichText:
    """Opens the desk; a headless run gets a line of text."""
    if not is_interactive(interactive):
        return note(_HEADLESS)
    from helpers.qa.desk import Desk

    return Desk(review, viewer or "auto")


def show_worst_pictures(review: Review, most: int = 3) -> None:
    """Displays the pictures that the run drew of its worst cases."""
    from IPython.display import Image, display

    pictures = [sorted(review.run.path("figures").glob(f"*_{glob.escape(case.id)}_*.png")) for case in review.cases]
    for paths in list(filter(None, pictures))[:most]:
        for path in paths:
            display(Image(filename=str(path)))


def export_review(review: Review) -> RichText:
    """Writes `qa.csv` and `rejected.csv` of all readers and runs to the outputs folder, and shows their counts."""
    review.refresh()
    verdicts = review.verdicts
    qa_csv = export_verdicts(verdicts, review.outputs / QA_CSV)
    rejected = list_rejected(verdicts, read_adjudications(review.outputs))
    rejected_csv = export_rejected(verdicts, review.outputs / REJECTED_CSV, rejected)
    here = list(dict.fromkeys(entry.case for entry in rejected if entry.run_hash == review.run.hash))
    rows = [
        ("verdicts of all readers and runs", len(verdicts.entries), qa_csv),
        ("rejected masks", len(rejected), rejected_csv),
        ("rejected in this run", len(here), ",".join(here) or "–"),
    ]
    if verdicts.torn_lines:
        rows.append(("lines cut off by a crash", verdicts.torn_lines, "ignored: they were never confirmed as saved"))
    return table(("", "count", "file or cases"), rows)


def show_agreement(review: Review) -> RichText:
    """Compares the readers of the run, disagreements first, and writes `agreement.csv`, `.json` and `.html`."""
    review.refresh()
    agreement = review.agreement()
    run = review.run
    paths = write_agreement(
        agreement, review_folder(review.outputs, run), run.recipe.title, anonymise=run.params.anonymise
    )
    kappas = [(", ".join(kappa.readers), describe_kappa(kappa)) for kappa in list_kappas(agreement)]
    rows = disagreement_rows(agreement)
    parts = [table(("readers", "agreement"), kappas)] if kappas else []
    parts += [note(line) for line in agreement.notes]
    if rows:
        parts.append(table(("case", *agreement.readers, "status", "final"), rows))
    parts += [note(f"Page: {paths[2]}; the same as {paths[0].name} and {paths[1].name} in that folder.")]
    return RichText("<br>".join(part.html for part in parts), "\n".join(part.text for part in parts))


def export_for_editing(review: Review, cases: Sequence[str] | str | None) -> RichText:
    """Copies cases with masks and label names to `<outputs>/edit/<recipe>/<run>/`, for ITK-SNAP or another editor.

    Raises:
        DataError: unknown case, or its mask was edited there already.
    """
    folder = edit_folder(review)
    rows = [(name, *(path.name for path in export_case(review.run, name, folder))) for name in _split(cases)]
    if not rows:
        return note("Nothing to export: name cases in `edit`.")
    header = ("case", "image", "mask", "labels")
    page = f"<code>{folder}</code><br>" + html_table(header, rows)
    return RichText(page, "\n".join([str(folder), *text_table([header, *rows])]))


def import_corrected(review: Review, corrected: Mapping[str, str] | Sequence[str] | str | None) -> RichText:
    """Imports corrected masks after checking the grid and labels of each.

    Args:
        review: of the run.
        corrected: case to path, or the cases whose masks were edited in `edit_folder`.

    Raises:
        DataError: a mask is missing, on another grid, or has unknown labels.
    """
    if not isinstance(corrected, Mapping):
        suffix = review.run.mask_suffix
        corrected = {name: str(edit_folder(review) / f"{name}_mask{suffix}") for name in _split(corrected)}
    rows = []
    for name, path in corrected.items():
        if not Path(found := find_input(path, parameter="corrected")).is_file():
            raise DataError(f"{found} is not a file", expected="an edited mask")
        correction = import_mask(review.run, name, found, review.outputs)
        rows.append((name, f"{correction.changed_voxels:,}", _show_dice(correction.dice), correction.path))
    if not rows:
        return note("Nothing to import: name cases in `corrected`.")
    return table(("case", "changed", "Dice with the run's mask", "stored as"), rows)


def edit_folder(review: Review) -> Path:
    """The folder that masks of a run are edited in."""
    return review.outputs / "edit" / review.run.recipe.name / review.run.name


def _case_row(review: Review, case: ReviewCase) -> tuple[object, ...]:
    values = {**case.metrics, **case.scores}
    scores = (show_score(values.get(name)) for name in _shown_names(review))
    verdicts = ", ".join(f"{who}: {entry.verdict}" for who, entry in review.latest_verdicts(case.id).items())
    return case.id, *scores, len(case.flags), "; ".join(map(str, case.flags)), verdicts


def _shown_names(review: Review) -> list[str]:
    """The scores, and the metric that the cases are sorted by."""
    return [*review.score_names, *(name for name in review.metric_names if name == review.order_by)]


def _split(names: Sequence[str] | str | None) -> list[str]:
    # papermill's -p passes only text: `-p edit a,b`.
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names or ())


def _show_dice(values: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items() if value is not None) or "–"
