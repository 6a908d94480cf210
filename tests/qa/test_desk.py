"""The desk in the kernel: what clicks and keys do, without a browser."""

from __future__ import annotations

import dataclasses
import json

import pytest

from helpers import qa
from helpers.errors import DataError, ParameterError, ResourceError
from helpers.qa.desk import Desk
from helpers.qa.journal import Journal, read_verdicts
from helpers.scoring.lesions import LesionRule
from helpers.scoring.volume_metrics import StructureRule
from helpers.view import comparison


@pytest.fixture
def desk(outputs, run):
    return Desk(qa.start_review("tiny", run=run.name, reader="ann", outputs=str(outputs), interactive=False))


def _click(desk, case_id: str) -> None:
    desk._table.chosen = case_id


def _status(desk) -> str:
    return desk._status.value


def test_a_click_opens_the_case_and_a_key_saves_the_verdict(desk, outputs):
    worst = desk._table.rows[0]["id"]
    _click(desk, worst)
    view = desk._view_place.children[0]
    assert view.scene.case_id == worst and "not reviewed by you yet" in _status(desk)
    desk._note.value = "too small"
    desk._table._handle_custom_msg({"key": "r"}, [])
    (entry,) = read_verdicts(outputs).entries
    assert (entry.who, entry.case, entry.verdict, entry.note) == ("ann", worst, "reject", "too small")
    assert f"{worst}: reject by ann" in _status(desk)
    assert desk._table.rows[0]["cells"]["verdict"] == "reject" and desk._progress.value == 1


def test_keys_reach_the_view(desk, other):
    desk._run_choice.value = str(other.folder)
    _click(desk, desk._table.rows[0]["id"])
    state = desk._view_place.children[0].view_state
    desk.press("m")
    assert state.mode == "truth"
    state.position = (0, 0, 0)
    desk.press("w")
    assert state.position == desk._view_place.children[0].scene.start_position()


def test_a_note_changed_later_is_a_new_verdict_and_a_restored_one_is_not(desk, outputs):
    first, second = (row["id"] for row in desk._table.rows[:2])
    _click(desk, first)
    desk.judge("accept")
    desk._note.value = "but look at the rim"
    _click(desk, second)
    _click(desk, first)
    assert [entry.note for entry in read_verdicts(outputs).entries] == ["", "but look at the rim"]
    assert desk._note.value == "but look at the rim" and "your verdict is accept" in _status(desk)


def test_another_readers_verdict_shows_when_a_case_is_opened(desk, outputs, run):
    case = desk._table.rows[0]
    mask = desk.review.case(case["id"]).mask_hash
    Journal(outputs, "bob").append("tiny", run.hash, case["id"], mask, "unsure", "hm")
    _click(desk, case["id"])
    row = desk._table.rows[0]
    assert (
        row["cells"]["other readers"] == "bob: unsure"
        and row["cells"]["verdict"] == ""
        and "hm" in row["tips"]["other readers"]
    )


def test_a_verdict_that_cannot_be_saved_is_reported(desk, monkeypatch):
    _click(desk, desk._table.rows[0]["id"])

    def refuse(*_: object) -> None:
        raise ResourceError("no disk space left")

    monkeypatch.setattr(Journal, "append", refuse)
    desk.judge("accept")
    assert "NOT saved: no disk space left" in _status(desk) and desk._progress.value == 0


def test_without_a_case_there_is_nothing_to_judge(desk, outputs):
    desk.judge("accept")
    assert "choose a case first" in _status(desk) and not read_verdicts(outputs).entries


def test_a_compared_run_adds_its_mask_and_flags(desk, other):
    desk._other_choice.value = str(other.folder)
    assert any("disagreement" in row["cells"]["reasons"] for row in desk._table.rows)
    _click(desk, desk._table.rows[0]["id"])
    assert "difference" in desk._view_place.children[0].scene.modes


def test_another_run_can_be_chosen(desk, other):
    desk._run_choice.value = str(other.folder)
    assert desk.review.run.name == other.name and desk.review.other is None
    assert len(desk._table.rows) == 6


def test_an_opened_case_leaves_the_kernel_when_the_next_one_opens(desk):
    import ipywidgets

    _click(desk, desk._table.rows[0]["id"])
    before = len(ipywidgets.widgets.widget._instances)
    for row in desk._table.rows[1:5]:
        _click(desk, row["id"])
    assert len(ipywidgets.widgets.widget._instances) <= before + 5


def test_the_rows_are_json(desk):
    assert json.loads(json.dumps(desk._table.rows)) == desk._table.rows


def test_headless_there_is_a_line_and_no_widget(outputs, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    review = qa.start_review("tiny", reader="ann", outputs=str(outputs))
    assert "Headless run" in repr(qa.open_desk(review))


def test_another_run_on_the_desk_leaves_the_callers_review_alone(outputs, run, other):
    review = qa.start_review("tiny", run=run.name, reader="ann", outputs=str(outputs), interactive=False)
    desk = Desk(review)
    cases = list(review.cases)
    desk._run_choice.value = str(other.folder)
    desk._order_choice.value = "flags"
    assert (desk.review.run.name, review.run.name, review.order_by) == (other.name, run.name, "mean score")
    assert review.cases == cases and review.score_names == run.score_names
    _click(desk, desk._table.rows[0]["id"])
    desk.press("r")
    (entry,) = read_verdicts(outputs).entries
    assert entry.run_hash == other.hash and "ann: reject" not in repr(qa.show_review(review))


def test_a_verdict_on_the_desk_is_in_the_callers_table(outputs, run):
    review = qa.start_review("tiny", run=run.name, reader="ann", outputs=str(outputs), interactive=False)
    desk = Desk(review)
    _click(desk, review.cases[0].id)
    desk.press("r")
    assert "ann: reject" in repr(qa.show_review(review))


@pytest.mark.parametrize("error", [DataError("the mask is gone"), OSError("stale handle")])
def test_no_verdict_is_taken_while_no_view_is_open(desk, outputs, monkeypatch, error):
    first, second = (row["id"] for row in desk._table.rows[:2])
    _click(desk, first)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("helpers.qa.desk.open_case_view", fail)
    _click(desk, second)
    assert str(error) in _status(desk)
    desk._note.value = "a note"
    for act in (lambda: desk.press("a"), lambda: desk.judge("reject"), lambda: desk._adjudicate("accept")):
        act()
        assert f"nothing saved: the view of {second} is not open" in _status(desk)
    assert not read_verdicts(outputs).entries


def test_after_a_verdict_the_page_is_asked_for_the_next_case_until_none_is_left(desk, monkeypatch):
    asked = []
    monkeypatch.setattr(desk._table, "send", lambda content: asked.append(content["do"]))
    for row in desk._table.rows:
        _click(desk, row["id"])
        desk.press("a")
    assert asked == ["next unreviewed"] * 5
    _click(desk, desk._table.rows[0]["id"])
    desk._note.value = "a note that is changed later keeps its case open"
    desk._moves_on.value = False
    desk.press("r")
    assert asked == ["next unreviewed"] * 5


def test_the_cases_are_sorted_by_any_metric_the_worst_first(desk):
    desk.review.cases[:] = [
        dataclasses.replace(case, metrics={"HD95 cube": value, "volume difference cube": value and value - 4.5})
        for case, value in zip(desk.review.cases, (3.0, None, 9.0, 1.0, 5.0, 7.0), strict=True)
    ]
    desk._order_choice.options = desk.review.order_names

    def shown(order: str) -> list[object]:
        desk._order_choice.value = order
        return [row["cells"][order] for row in desk._table.rows]

    assert shown("HD95 cube") == [9, 7, 5, 3, 1, None]
    assert shown("volume difference cube") == [4.5, -3.5, 2.5, -1.5, 0.5, None]  # either way
    with pytest.raises(ParameterError, match="HD95 cube"):
        desk.review.sort("HD95 cubee")


def test_disagreements_of_readers_come_first_and_are_adjudicated(desk, outputs, run):
    last = desk._table.rows[-1]["id"]
    mask = desk.review.case(last).mask_hash
    for reader, verdict in (("bob", "accept"), ("carl", "reject")):
        Journal(outputs, reader).append("tiny", run.hash, last, mask, verdict)
    desk.review.refresh()
    desk._order_choice.value = "disagreement of readers"
    assert desk._table.rows[0]["id"] == last
    _click(desk, desk._table.rows[1]["id"])
    assert desk._readers.widget.layout.display == "none"
    _click(desk, last)
    assert "bob: <b>accept</b>" in desk._readers._text.value and desk._readers.widget.layout.display == "flex"
    desk._note.value = "the rim is right"
    desk._adjudicate("accept")
    assert f"{last}: adjudicated as accept by ann" in _status(desk)
    assert "ann decided <b>accept</b>" in desk._readers._text.value and len(read_verdicts(outputs).entries) == 2


def test_a_lesion_is_listed_drawn_and_jumped_to(desk, run, monkeypatch):
    """In place of a lesion recipe: the cube is scored lesion by lesion, and one truth gets a second, missed one."""
    recipe_class, read = type(run.recipe.scoring), type(run).read_case
    monkeypatch.setattr(recipe_class, "structures", lambda *_: {"cube": [1]})
    rule = {"cube": StructureRule(2.0, LesionRule(dilation=1, minimum_mm3=0))}
    monkeypatch.setattr(type(run.recipe), "metric_rules", lambda *_: rule)

    def read_with_another(self, case_id):
        case = read(self, case_id)
        truth = case.truth.copy()
        truth[0, 0, :2] = 1
        return dataclasses.replace(case, truth=truth)

    monkeypatch.setattr(type(run), "read_case", read_with_another)
    _click(desk, desk._table.rows[0]["id"])
    kinds = [row["cells"]["lesion"] for row in desk._lesions.rows]
    assert kinds[0] == "missed" and "found" in kinds and "1 missed" in desk._lesion_text.value
    view = desk._view_place.children[0]
    assert "lesions" in view.scene.modes
    _, lesion = desk._lesions.lesions[desk._lesions.rows[0]["id"]]
    desk._lesions.chosen = desk._lesions.rows[0]["id"]
    position = view.view_state.position
    assert view.scene.order.index_in_file(position, view.scene.image.shape) == lesion.centre
    assert view.scene.masks["truth"][position] == 1 and view.scene.labels("lesions", position) == comparison.MISSING
