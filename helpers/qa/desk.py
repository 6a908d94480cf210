"""The reader's desk: a table of cases, the view of the chosen one, verdict buttons, a note, keys."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Iterator
from typing import Any

import ipywidgets

from helpers.errors import CookbookError
from helpers.qa.case_table import KEYS, CaseTable
from helpers.qa.finished import FinishedRun, list_runs
from helpers.qa.journal import VERDICTS
from helpers.qa.review import Review, open_review, read_masks
from helpers.view import figures
from helpers.view.figures.canvas import encode_figure
from helpers.view.viewer import volume
from helpers.view.viewer.view_box import ViewBox
from helpers.view.windows import load_window

_BUTTON_STYLES = {"accept": "success", "reject": "danger", "unsure": "warning"}
_NO_OTHER_RUN = "no other run"


class Desk(ipywidgets.VBox):
    """Reviews the cases of a run one after the other; a verdict is on the disk when "saved" appears.

    Args:
        review: the initial review; the run and the one it is compared with can be changed on the desk.
        viewer: as in `view.volume`.
    """

    def __init__(self, review: Review, viewer: str = "auto"):
        self.review, self._viewer = review, viewer
        self._runs = {str(run.folder): run for run in list_runs(review.outputs)}
        self._table = CaseTable()
        self._view_place = ipywidgets.VBox()
        self._status = ipywidgets.HTML()
        self._progress = ipywidgets.IntProgress(layout={"width": "160px"})
        self._progress_text = ipywidgets.HTML()
        self._note = ipywidgets.Textarea(
            placeholder="note, saved with the verdict",
            continuous_update=False,
            layout={"width": "420px", "height": "52px"},
        )
        self._note.add_class("cookbook-note")
        self._changed_by_desk = False
        super().__init__([self._run_choosers(), self._table, self._verdict_row(), self._view_place, self._key_help()])
        self.add_class("cookbook-desk")
        self._table.observe(self._open_chosen, names="chosen")
        self._table.on_key(self.press)
        self._note.observe(self._save_changed_note, names="value")
        self._refresh_table()

    def press(self, key: str) -> None:
        """Handles a key of `KEYS`."""
        if KEYS.get(key) in VERDICTS:
            self.judge(KEYS[key])
        elif key == "c":
            self._note.focus()
        else:
            for view in self._view_place.children:
                if isinstance(view, ViewBox):
                    view.press(key)

    def judge(self, verdict: str) -> None:
        """Saves a verdict on the chosen case, with the current note."""
        case_id = self._table.chosen
        if case_id is None:
            self._report("choose a case first")
            return
        try:
            entry = self.review.judge(case_id, verdict, self._note.value.strip())
        except CookbookError as error:
            self._report(f"NOT saved: {error.line()}")
            return
        self._report(f"saved at {entry.when[11:19]} UTC: {case_id}: {verdict} by {entry.who}")
        self._refresh_table()

    def _run_choosers(self) -> ipywidgets.Widget:
        self._run_choice = ipywidgets.Dropdown(
            options=[(f"{run.recipe.name} / {run.name}", str(folder)) for folder, run in self._runs.items()],
            value=str(self.review.run.folder),
            description="run",
            style={"description_width": "auto"},
            layout={"width": "330px"},
        )
        self._other_choice = ipywidgets.Dropdown(
            description="compare with", style={"description_width": "auto"}, layout={"width": "280px"}
        )
        self._offer_others(self.review.other)
        self._run_choice.observe(self._change_run, names="value")
        self._other_choice.observe(self._change_other, names="value")
        reader = ipywidgets.HTML(f"reader <b>{html.escape(self.review.journal.reader)}</b>")
        return _row(self._run_choice, self._other_choice, reader, self._progress, self._progress_text)

    def _verdict_row(self) -> ipywidgets.Widget:
        buttons = []
        for verdict in VERDICTS:
            text, style = f"{verdict} ({verdict[0]})", _BUTTON_STYLES[verdict]
            button = ipywidgets.Button(description=text, button_style=style, layout={"width": "auto"})
            button.on_click(lambda _, verdict=verdict: self.judge(verdict))
            buttons.append(button)
        return _row(*buttons, self._note, self._status)

    def _key_help(self) -> ipywidgets.Widget:
        keys = {"j, k": "next, previous row", **KEYS}
        text = " &nbsp; ".join(f"<b>{key}</b> {html.escape(what)}" for key, what in keys.items())
        return ipywidgets.HTML(f"<span style='color:#666'>Keys (click on the desk first): {text}</span>")

    def _offer_others(self, chosen: FinishedRun | None = None) -> None:
        recipe, own = self.review.run.recipe.name, self.review.run.folder
        others = [run for run in self._runs.values() if run.recipe.name == recipe and run.folder != own]
        with self._changing_inputs():
            self._other_choice.options = [(_NO_OTHER_RUN, ""), *((run.name, str(run.folder)) for run in others)]
            self._other_choice.value = str(chosen.folder) if chosen else ""

    def _change_run(self, change: dict[str, Any]) -> None:
        self.review.run = self._runs[change["new"]]
        self._offer_others()
        self._reopen()

    def _change_other(self, _: dict[str, Any]) -> None:
        if not self._changed_by_desk:
            self._reopen()

    def _reopen(self) -> None:
        self._report("measuring the masks …")
        run, other = self._runs[self._run_choice.value], self._runs.get(self._other_choice.value)
        try:
            self.review = open_review(run, self.review.journal.reader, self.review.outputs, other, interactive=False)
        except CookbookError as error:
            self._report(error.line())
            return
        self._table.chosen = None
        self._refresh_table()
        self._report("")

    def _refresh_table(self) -> None:
        self._table.fill(self.review)
        done, total = self.review.progress()
        self._progress.max, self._progress.value = max(total, 1), done
        self._progress_text.value = f"{done} of {total} reviewed"

    def _open_chosen(self, change: dict[str, Any]) -> None:
        case_id = change["new"]
        self._close_view()
        if case_id is None:
            return
        self._report(f"opening {case_id} …")
        self.review.refresh()  # another reader may have judged meanwhile
        own = self.review.own_verdict(case_id)
        with self._changing_inputs():
            self._note.value = own.note if own else ""
        try:
            self._view_place.children = [open_case_view(self.review, case_id, self._viewer)]
        except CookbookError as error:
            self._report(error.line())
            return
        self._refresh_table()
        self._report(f"{case_id}: your verdict is {own.verdict}" if own else f"{case_id}: not reviewed by you yet")

    def _close_view(self) -> None:
        old, self._view_place.children = self._view_place.children, []
        for view in old:
            close_with_parts(view)

    def _save_changed_note(self, _: dict[str, Any]) -> None:
        """Saves a note that was changed after the verdict as a new verdict of the same kind."""
        if self._changed_by_desk or self._table.chosen is None:
            return
        own = self.review.own_verdict(self._table.chosen)
        if own is not None:
            self.judge(own.verdict)

    @contextlib.contextmanager
    def _changing_inputs(self) -> Iterator[None]:
        """Marks changes of the inputs as the desk's own, not the reader's."""
        self._changed_by_desk = True
        try:
            yield
        finally:
            self._changed_by_desk = False

    def _report(self, text: str) -> None:
        self._status.value = f"<span class='cookbook-status'>{html.escape(text)}</span>"


def open_case_view(review: Review, case_id: str, viewer: str = "auto") -> ipywidgets.Widget:
    """Opens a case with its truth and masks: a volume in a viewer, a photograph as a row of pictures.

    Raises:
        DataError: a file of the case is no longer readable.
    """
    run = review.run
    case, mask, others = read_masks(run, review.other, case_id)
    if case.geometry is None:
        scores = review.case(case_id).scores
        figure = figures.draw_gallery(case_id, case.image, mask, case.truth, run.labels.names, scores)
        return ipywidgets.Image(value=encode_figure(figure), format="png", layout={"max_width": "100%"})
    pictures = run.recipe.picture_settings(run.params)
    shown = volume(
        case.image[pictures.channel],
        case.truth,
        mask,
        geometry=case.geometry,
        class_names=run.labels.names,
        other_run=others,
        case_id=case_id,
        window=load_window(pictures.grey_window).fixed_limits(),
        viewer=viewer,
        interactive=True,
    )
    return shown if isinstance(shown, ipywidgets.Widget) else ipywidgets.HTML(shown.html)


def close_with_parts(widget: ipywidgets.Widget) -> None:
    """Closes a widget and all widgets that it refers to, so that its voxels leave the kernel and the page."""
    pending, found = [widget], {}
    while pending:
        part = pending.pop()
        if id(part) not in found:
            found[id(part)] = part
            for value in part.trait_values().values():
                items = value if isinstance(value, list | tuple) else [value]
                pending += [item for item in items if isinstance(item, ipywidgets.Widget)]
    for part in found.values():
        part.close()


def _row(*widgets: ipywidgets.Widget) -> ipywidgets.HBox:
    return ipywidgets.HBox(widgets, layout={"flex_flow": "row wrap", "align_items": "center"})
