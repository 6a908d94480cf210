"""The reader's desk: a table of cases, the view of the chosen one, verdict buttons, a note, keys."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ipywidgets

from helpers.errors import CookbookError, last_line
from helpers.qa.case_table import KEYS, CaseTable, LesionTable
from helpers.qa.finished import FinishedRun, list_runs
from helpers.qa.journal import VERDICTS, Verdict
from helpers.qa.review import Review, open_review, read_masks
from helpers.scoring.lesions import LesionMap
from helpers.stages.lesions import map_lesions, mark_lesions
from helpers.view import figures
from helpers.view.figures.canvas import encode_figure
from helpers.view.viewer import volume
from helpers.view.viewer.view_box import ViewBox
from helpers.view.windows import load_window

_BUTTON_STYLES = {"accept": "success", "reject": "danger", "unsure": "warning"}
_NO_OTHER_RUN = "no other run"
_LOG = logging.getLogger("cookbook")


class Desk(ipywidgets.VBox):
    """Reviews the cases of a run one after the other; a verdict is on the disk when "saved" appears.

    A verdict is taken only on the case whose view is open.

    Args:
        review: the initial review. The desk works on a copy: another run, comparison or order that is chosen there
            does not change it.
        viewer: as in `view.volume`.
    """

    def __init__(self, review: Review, viewer: str = "auto"):
        self.review, self._viewer = dataclasses.replace(review, cases=list(review.cases)), viewer
        self.review.refresh()
        self._shown: str | None = None  # the case whose view is open
        self._runs = {str(run.folder): run for run in list_runs(review.outputs)}
        self._table, self._lesions = CaseTable(), LesionTable()
        self._lesion_place, self._lesion_text = ipywidgets.VBox(), ipywidgets.HTML()
        self._readers = ReadersRow(self._adjudicate)
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
        self._saved = ""  # what was saved before the desk moved on
        super().__init__(
            [
                self._run_choosers(),
                self._table,
                self._verdict_row(),
                self._readers.widget,
                self._lesion_place,
                self._view_place,
                self._key_help(),
            ]
        )
        self.add_class("cookbook-desk")
        self._table.observe(self._open_chosen, names="chosen")
        self._table.on_key(self.press)
        self._lesions.observe(self._jump_to_lesion, names="chosen")
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
        """Saves a verdict on the case whose view is open, with the current note, and moves on if that is ticked."""
        case_id = self._case_to_judge()
        if case_id is None:
            return
        try:
            entry = self.review.judge(case_id, verdict, self._note.value.strip())
        except CookbookError as error:
            self._report(f"NOT saved: {error.line()}")
            return
        self._saved = f"saved at {entry.when[11:19]} UTC: {case_id}: {verdict} by {entry.who}"
        self._report(self._saved)
        self._refresh_table()
        self._readers.show(self.review, case_id)
        done, total = self.review.progress()
        if self._moves_on.value and done < total:
            self._table.choose_next()

    def _case_to_judge(self) -> str | None:
        if self._table.chosen is None:
            self._report("choose a case first")
        elif self._table.chosen != self._shown:
            self._report(f"nothing saved: the view of {self._table.chosen} is not open")
        else:
            return self._shown
        return None

    def _adjudicate(self, decision: str) -> None:
        case_id = self._case_to_judge()
        if case_id is None:
            return
        try:
            entry = self.review.adjudicate(case_id, decision, self._note.value.strip())
        except CookbookError as error:
            self._report(f"NOT saved: {error.line()}")
            return
        self._report(f"saved at {entry.when[11:19]} UTC: {case_id}: adjudicated as {decision} by {entry.who}")
        self._refresh_table()
        self._readers.show(self.review, case_id)

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
        self._order_choice = ipywidgets.Dropdown(
            options=self.review.order_names,
            value=self.review.order_by,
            description="worst first by",
            style={"description_width": "auto"},
            layout={"width": "270px"},
        )
        self._order_choice.observe(self._change_order, names="value")
        self._offer_others(self.review.other)
        self._run_choice.observe(self._change_run, names="value")
        self._other_choice.observe(self._change_other, names="value")
        reader = ipywidgets.HTML(f"reader <b>{html.escape(self.review.journal.reader)}</b>")
        choosers = (self._run_choice, self._other_choice, self._order_choice)
        return _row(*choosers, reader, self._progress, self._progress_text)

    def _verdict_row(self) -> ipywidgets.Widget:
        buttons = []
        for verdict in VERDICTS:
            text, style = f"{verdict} ({verdict[0]})", _BUTTON_STYLES[verdict]
            button = ipywidgets.Button(description=text, button_style=style, layout={"width": "auto"})
            button.on_click(lambda _, verdict=verdict: self.judge(verdict))
            buttons.append(button)
        self._moves_on = ipywidgets.Checkbox(
            value=True, description="then the next unreviewed case", indent=False, layout={"width": "auto"}
        )
        return _row(*buttons, self._note, self._moves_on, self._status)

    def _key_help(self) -> ipywidgets.Widget:
        keys = {"j, k": "next, previous row", **KEYS}
        text = " &nbsp; ".join(f"<b>{key}</b> {html.escape(what)}" for key, what in keys.items())
        return ipywidgets.HTML(f"<span style='color:#666'>Keys (click on the desk first): {text}</span>")

    def _offer_others(self, chosen: FinishedRun | None = None) -> None:
        run = self._runs[self._run_choice.value]
        recipe, own = run.recipe.name, run.folder
        others = [run for run in self._runs.values() if run.recipe.name == recipe and run.folder != own]
        with self._changing_inputs():
            self._other_choice.options = [(_NO_OTHER_RUN, ""), *((run.name, str(run.folder)) for run in others)]
            self._other_choice.value = str(chosen.folder) if chosen else ""

    def _change_run(self, _: dict[str, Any]) -> None:
        self._offer_others()
        self._reopen()

    def _change_order(self, change: dict[str, Any]) -> None:
        if not self._changed_by_desk and change["new"]:
            self.review.sort(change["new"])
            self._table.sort = {"column": "", "descending": False}
            self._refresh_table()

    def _change_other(self, _: dict[str, Any]) -> None:
        if not self._changed_by_desk:
            self._reopen()

    def _reopen(self) -> None:
        self._report("measuring the masks …")
        self._table.chosen = None
        run, other = self._runs[self._run_choice.value], self._runs.get(self._other_choice.value)
        try:
            self.review = open_review(run, self.review.journal.reader, self.review.outputs, other, interactive=False)
        except CookbookError as error:
            self._report(error.line())
            return
        with self._changing_inputs():
            self._order_choice.options = self.review.order_names
            self._order_choice.value = self.review.order_by
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
        saved, self._saved = self._saved, ""
        self.review.refresh()  # another reader may have judged meanwhile
        own = self.review.own_verdict(case_id)
        with self._changing_inputs():
            self._note.value = own.note if own else ""
        try:
            view, lesions = open_case_view(self.review, case_id, self._viewer)
        except CookbookError as error:
            self._report(error.line())
            return
        except Exception as error:  # whatever a file or a viewer does: no verdict without a picture
            _LOG.warning("%s cannot be opened", case_id, exc_info=True)
            self._report(f"{case_id} cannot be opened: {last_line(error)}")
            return
        self._view_place.children = [view]
        self._shown = case_id
        self._show_lesions(lesions)
        self._readers.show(self.review, case_id)
        self._refresh_table()
        state = f"{case_id}: your verdict is {own.verdict}" if own else f"{case_id}: not reviewed by you yet"
        self._report(f"{saved}; {state}" if saved else state)

    def _show_lesions(self, maps: Mapping[str, LesionMap]) -> None:
        self._lesions.chosen = None
        self._lesions.fill(maps)
        self._lesion_text.value = f"<b>lesions</b> {describe_lesions(maps)}; click one to see it"
        self._lesion_place.children = [self._lesion_text, self._lesions] if maps else []

    def _jump_to_lesion(self, change: dict[str, Any]) -> None:
        """Moves the view to the centre of the chosen lesion."""
        if change["new"] not in self._lesions.lesions:
            return
        _, lesion = self._lesions.lesions[change["new"]]
        for view in self._view_place.children:
            if isinstance(view, ViewBox):
                scene = view.scene
                view.view_state.position = scene.order.position_of(lesion.centre, scene.image.shape)

    def _close_view(self) -> None:
        self._shown = None
        self._lesion_place.children = []
        self._readers.hide()
        old, self._view_place.children = self._view_place.children, []
        for view in old:
            close_with_parts(view)

    def _save_changed_note(self, _: dict[str, Any]) -> None:
        """Saves a note that was changed after the verdict as a new verdict of the same kind."""
        if self._changed_by_desk or self._table.chosen is None:
            return
        own = self.review.own_verdict(self._table.chosen)
        if own is not None and self._shown == self._table.chosen:
            with self._staying():
                self.judge(own.verdict)

    @contextlib.contextmanager
    def _staying(self) -> Iterator[None]:
        """Keeps the case open after a verdict."""
        moves_on, self._moves_on.value = self._moves_on.value, False
        try:
            yield
        finally:
            self._moves_on.value = moves_on

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


class ReadersRow:
    """What each reader says of the open case, and buttons to adjudicate; hidden with fewer than two readers."""

    def __init__(self, decide: Callable[[str], None]):
        self._text = ipywidgets.HTML()
        self._who = ipywidgets.HTML()
        buttons = []
        for verdict in VERDICTS:
            button = ipywidgets.Button(description=verdict, layout={"width": "auto"})
            button.on_click(lambda _, verdict=verdict: decide(verdict))
            buttons.append(button)
        self.widget = _row(self._text, self._who, *buttons)
        self.widget.add_class("cookbook-readers")
        self.hide()

    def show(self, review: Review, case_id: str) -> None:
        """Shows the verdicts on a case and its adjudication, if two readers or more have judged it."""
        case = next(case for case in review.agreement().cases if case.case == case_id)
        if len(case.verdicts) < 2:
            self.hide()
            return
        said = ", ".join(f"{who}: <b>{entry.verdict}</b>" for who, entry in _escaped(case.verdicts).items())
        decided = ""
        if case.adjudication is not None:
            entry = case.adjudication
            state = "" if case.is_decided else ", but a reader has judged again since"
            decided = f"; {html.escape(entry.who)} decided <b>{entry.decision}</b>{state}"
        self._text.value = f"readers: {said}{decided} &nbsp;"
        self._who.value = f"adjudicate as <b>{html.escape(review.journal.reader)}</b>:"
        self.widget.layout.display = "flex"

    def hide(self) -> None:
        """Hides the row."""
        self.widget.layout.display = "none"


def open_case_view(
    review: Review, case_id: str, viewer: str = "auto"
) -> tuple[ipywidgets.Widget, dict[str, LesionMap]]:
    """Opens a case with its truth and masks: a volume in a viewer, a photograph as a row of pictures.

    Returns:
        The view, and the lesions of each structure that is scored lesion by lesion.

    Raises:
        DataError: a file of the case is no longer readable.
    """
    run = review.run
    case, mask, others = read_masks(run, review.other, case_id)
    if case.geometry is None:
        scores = review.case(case_id).scores
        figure = figures.draw_gallery(case_id, case.image, mask, case.truth, run.labels.names, scores)
        return ipywidgets.Image(value=encode_figure(figure), format="png", layout={"max_width": "100%"}), {}
    lesions = map_lesions(run.recipe, run.params, run.labels, case, mask)
    pictures = run.recipe.picture_settings(run.params)
    shown = volume(
        case.image[pictures.channel],
        case.truth,
        mask,
        geometry=case.geometry,
        class_names=run.labels.names,
        other_run=others,
        lesions=mark_lesions(lesions),
        case_id=case_id,
        window=load_window(pictures.grey_window).fixed_limits(),
        viewer=viewer,
        interactive=True,
    )
    return shown if isinstance(shown, ipywidgets.Widget) else ipywidgets.HTML(shown.html), lesions


def describe_lesions(maps: Mapping[str, LesionMap]) -> str:
    """How many lesions of each structure were found and missed, and how many are false; small ones do not count."""
    parts = []
    for name, found in maps.items():
        counts = [sum(lesion.counts for lesion in found.of_kind(kind)) for kind in ("found", "missed", "false")]
        parts.append(f"{html.escape(name)}: {counts[0]} found, {counts[1]} missed, {counts[2]} false")
    return "; ".join(parts)


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


def _escaped(verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    return {html.escape(who): entry for who, entry in verdicts.items()}


def _row(*widgets: ipywidgets.Widget) -> ipywidgets.HBox:
    return ipywidgets.HBox(widgets, layout={"flex_flow": "row wrap", "align_items": "center"})
