"""The reader's desk: table, view, verdict buttons, note, keys."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Iterator

import ipywidgets

from helpers.errors import CookbookError
from helpers.qa.case_table import KEYS, CaseTable
from helpers.qa.case_view import close_view, open_case_view
from helpers.qa.finished import FinishedRun, list_runs
from helpers.qa.journal import VERDICTS
from helpers.qa.review import Review, open_review

_STYLES = {"accept": "success", "reject": "danger", "unsure": "warning"}
_ALONE = "no other run"


class Desk(ipywidgets.VBox):
    """A run's cases to judge, one after the other; every verdict is on the disk when its line appears.

    Args:
        review: what to begin with; its run and the one it is compared with can be changed on the desk.
        viewer: as in `view.volume`.
    """

    def __init__(self, review: Review, viewer: str = "auto"):
        self.review, self._viewer = review, viewer
        self._runs = {str(run.folder): run for run in list_runs(review.outputs)}
        self._table = CaseTable()
        self._place = ipywidgets.VBox()
        self._status = ipywidgets.HTML()
        self._progress = ipywidgets.IntProgress(layout={"width": "160px"})
        self._counted = ipywidgets.HTML()
        self._note = ipywidgets.Textarea(
            placeholder="note, saved with the verdict",
            continuous_update=False,
            layout={"width": "420px", "height": "52px"},
        )
        self._note.add_class("cookbook-note")
        self._quiet = False
        super().__init__([self._choosers(), self._table, self._verdict_row(), self._place, self._help()])
        self.add_class("cookbook-desk")
        self._table.observe(self._open_chosen, names="chosen")
        self._table.on_key(self.press)
        self._note.observe(self._note_changed, names="value")
        self._count()

    def press(self, key: str) -> None:
        """What a key of `KEYS` does."""
        view = self._place.children[0] if self._place.children else None
        if KEYS.get(key) in VERDICTS:
            self.judge(KEYS[key])
        elif key == "c":
            self._note.focus()
        elif hasattr(view, "press"):
            view.press(key)

    def judge(self, verdict: str) -> None:
        """Saves the reader's word on the chosen case with the note as it stands."""
        case_id = self._table.chosen
        if case_id is None:
            self._tell("choose a case first")
            return
        try:
            entry = self.review.judge(case_id, verdict, self._note.value.strip())
        except CookbookError as error:
            self._tell(f"NOT saved: {error.line()}")
            return
        self._tell(f"saved {entry.when[11:19]} UTC: {entry.who} says {verdict} of {case_id}")
        self._count()

    def _choosers(self) -> ipywidgets.Widget:
        self._run_choice = ipywidgets.Dropdown(
            options=[(f"{run.recipe.name} / {run.name}", str(folder)) for folder, run in self._runs.items()],
            value=str(self.review.run.folder),
            description="run",
            style={"description_width": "auto"},
            layout={"width": "330px"},
        )
        self._other_choice = ipywidgets.Dropdown(
            description="beside", style={"description_width": "auto"}, layout={"width": "240px"}
        )
        self._offer_others(self.review.other)
        self._run_choice.observe(self._change_run, names="value")
        self._other_choice.observe(self._change_other, names="value")
        reader = ipywidgets.HTML(f"reader <b>{html.escape(self.review.journal.reader)}</b>")
        return _row(self._run_choice, self._other_choice, reader, self._progress, self._counted)

    def _verdict_row(self) -> ipywidgets.Widget:
        buttons = []
        for verdict in VERDICTS:
            text = f"{verdict} ({verdict[0]})"
            button = ipywidgets.Button(description=text, button_style=_STYLES[verdict], layout={"width": "auto"})
            button.on_click(lambda _, verdict=verdict: self.judge(verdict))
            buttons.append(button)
        return _row(*buttons, self._note, self._status)

    def _help(self) -> ipywidgets.Widget:
        keys = {"j, k": "down, up in the table", **KEYS}
        text = " &nbsp; ".join(f"<b>{key}</b> {html.escape(what)}" for key, what in keys.items())
        return ipywidgets.HTML(f"<span style='color:#666'>Keys, after a click on the desk: {text}</span>")

    def _offer_others(self, chosen: FinishedRun | None = None) -> None:
        recipe, own = self.review.run.recipe.name, self.review.run.folder
        others = [run for run in self._runs.values() if run.recipe.name == recipe and run.folder != own]
        with self._quietly():
            self._other_choice.options = [(_ALONE, ""), *((run.name, str(run.folder)) for run in others)]
            self._other_choice.value = str(chosen.folder) if chosen else ""

    def _change_run(self, change: dict) -> None:
        self.review.run = self._runs[change["new"]]
        self._offer_others()
        self._reopen()

    def _change_other(self, _: dict) -> None:
        if not self._quiet:
            self._reopen()

    def _reopen(self) -> None:
        self._tell("looking at the masks …")
        run, other = self._runs[self._run_choice.value], self._runs.get(self._other_choice.value)
        try:
            self.review = open_review(run, self.review.journal.reader, self.review.outputs, other, interactive=False)
        except CookbookError as error:
            self._tell(error.line())
            return
        self._table.chosen = None
        self._count()
        self._tell("")

    def _count(self) -> None:
        self._table.fill(self.review)
        done, total = self.review.progress()
        self._progress.max, self._progress.value = max(total, 1), done
        self._counted.value = f"{done} of {total} judged"

    def _open_chosen(self, change: dict) -> None:
        self._close_view()
        if change["new"] is None:
            return
        self._tell(f"opening {change['new']} …")
        self.review.refresh()  # another reader may have spoken since
        own = self.review.own_word(change["new"])
        self._set_note(own.note if own else "")
        try:
            self._place.children = [open_case_view(self.review, self.review.case(change["new"]), self._viewer)]
        except CookbookError as error:
            self._tell(error.line())
            return
        self._count()
        self._tell(f"you said {own.verdict} of {change['new']}" if own else f"{change['new']}: no word of yours yet")

    def _close_view(self) -> None:
        old, self._place.children = self._place.children, []
        for view in old:
            close_view(view)

    def _set_note(self, text: str) -> None:
        with self._quietly():
            self._note.value = text

    def _note_changed(self, _: dict) -> None:
        """A note that is changed after the verdict is a new word with the same verdict."""
        if self._quiet or self._table.chosen is None:
            return
        own = self.review.own_word(self._table.chosen)
        if own is not None:
            self.judge(own.verdict)

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        """For changes that are not the reader's."""
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False

    def _tell(self, text: str) -> None:
        self._status.value = f"<span class='cookbook-status'>{html.escape(text)}</span>"


def _row(*widgets: ipywidgets.Widget) -> ipywidgets.HBox:
    return ipywidgets.HBox(widgets, layout={"flex_flow": "row wrap", "align_items": "center"})
