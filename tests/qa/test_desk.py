"""The desk in the kernel: what clicks and keys do, without a browser."""

from __future__ import annotations

import json

import pytest

from helpers import qa
from helpers.errors import ResourceError
from helpers.qa.desk import Desk
from helpers.qa.journal import Journal, read_verdicts


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
