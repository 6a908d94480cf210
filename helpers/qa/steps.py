"""The steps of the visual QA notebook."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from pathlib import Path

from helpers.errors import DataError
from helpers.params.paths import find_input, place_output
from helpers.qa.corrected import copy_for_editing, read_corrected
from helpers.qa.finished import find_run
from helpers.qa.journal import QA_CSV, REJECTED_CSV, export_rejected, export_verdicts, rejected
from helpers.qa.review import Review, open_review
from helpers.view.progress import is_interactive
from helpers.view.tables import RichText, html_table

_HEADLESS = "Headless run: the table and the pictures stand for the desk; open this notebook in JupyterLab to judge."


def start_review(
    recipe: str | None,
    *,
    run: str | None = None,
    compare_with: str | None = None,
    reader: str | None = None,
    outputs: str = "outputs",
    interactive: bool | None = None,
) -> Review:
    """A finished run under review.

    Args:
        recipe: whose runs; None: of all recipes.
        run, compare_with: names of run folders; no run: the newest; no other: none.
        reader: whose word it is; None: the login name.
        outputs: the folder of the runs.
        interactive: overrides the detection of a reader.

    Raises:
        DataError: there is no such run, or a file of a case cannot be read.
    """
    folder = place_output(outputs)
    chosen = find_run(folder, recipe, run)
    other = find_run(folder, chosen.recipe.name, compare_with) if compare_with else None
    return open_review(chosen, reader or getpass.getuser(), folder, other, interactive)


def open_desk(review: Review, viewer: str | None = None, interactive: bool | None = None):
    """The desk when someone is there, else a line that says where it is."""
    if not is_interactive(interactive):
        return RichText(f"<i>{_HEADLESS}</i>", _HEADLESS)
    from helpers.qa.desk import Desk

    return Desk(review, viewer or "auto")


def export_review(review: Review) -> RichText:
    """Writes `qa.csv` and `rejected.csv` of all readers and runs into the outputs folder; says what is in them."""
    review.refresh()
    verdicts = review.verdicts
    paths = [
        export_verdicts(verdicts, review.outputs / QA_CSV),
        export_rejected(verdicts, review.outputs / REJECTED_CSV),
    ]
    here = [entry.case for entry in rejected(verdicts) if entry.run_hash == review.run.hash]
    rows = [
        ("verdicts of all readers and runs", len(verdicts.entries), paths[0]),
        ("rejected masks", len(rejected(verdicts)), paths[1]),
        ("rejected in this run", len(set(here)), ",".join(dict.fromkeys(here)) or "–"),
    ]
    if verdicts.torn_lines:
        rows.append(("lines that a crash tore", verdicts.torn_lines, "left out; never acknowledged"))
    text = "\n".join(f"{what}: {count} ({where})" for what, count, where in rows)
    return RichText(html_table(("", "count", "where"), rows), text)


def export_for_editing(review: Review, cases: Sequence[str] | str | None) -> RichText:
    """Copies cases with masks and label names to `<outputs>/edit/<recipe>/<run>/` for ITK-SNAP or another editor.

    Raises:
        DataError: an unknown case, or a mask that was edited there already.
    """
    names = _split(cases)
    folder = edit_folder(review)
    rows = [(name, *(path.name for path in copy_for_editing(review.run, name, folder))) for name in names]
    if not rows:
        text = "Nothing to correct: name cases in `edit`."
        return RichText(f"<i>{text}</i>", text)
    text = "\n".join("  ".join(row) for row in rows)
    return RichText(f"<code>{folder}</code><br>" + html_table(("case", "image", "mask", "labels"), rows), text)


def import_corrected(review: Review, corrected: Mapping[str, str] | Sequence[str] | str | None) -> RichText:
    """Reads corrected masks back, each checked against its case's grid and labels.

    Args:
        review: of the run.
        corrected: case to path, or the cases whose masks were edited in `edit_folder`.

    Raises:
        DataError: a mask on another grid, with other labels, or that is not there.
    """
    if not isinstance(corrected, Mapping):
        suffix = review.run.mask_suffix
        corrected = {name: str(edit_folder(review) / f"{name}_mask{suffix}") for name in _split(corrected)}
    rows = []
    for name, path in corrected.items():
        if not Path(found := find_input(path, parameter="corrected")).is_file():
            raise DataError(f"{found} is no file", expected="an edited mask")
        correction = read_corrected(review.run, name, found, review.outputs)
        rows.append((name, f"{correction.changed_voxels:,}", _show_dice(correction.dice), correction.path))
    if not rows:
        text = "No mask to read back: name cases in `corrected`."
        return RichText(f"<i>{text}</i>", text)
    header = ("case", "changed", "Dice with the run's mask", "kept as")
    return RichText(html_table(header, rows), "\n".join("  ".join(map(str, row)) for row in rows))


def edit_folder(review: Review) -> Path:
    """Where masks of a run wait for an editor."""
    return review.outputs / "edit" / review.run.recipe.name / review.run.name


def _split(names: Sequence[str] | str | None) -> list[str]:
    # papermill's -p passes text only: `-p edit a,b`.
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names or ())


def _show_dice(values: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items() if value is not None) or "–"
