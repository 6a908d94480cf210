"""The sortable table of cases as a widget, and as HTML for a headless notebook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import anywidget
import traitlets

from helpers.qa.review import Review, ReviewCase
from helpers.view.tables import RichText, html_table

_HERE = Path(__file__).parent
KEYS = {
    "a": "accept",
    "r": "reject",
    "u": "unsure",
    "n": "next case without your word",
    "c": "write a note",
    "m": "next overlay (prediction, truth, errors, …)",
    "w": "worst slice",
    "e": "largest error",
}


class CaseTable(anywidget.AnyWidget):
    """The rows of a review; `chosen` is the case whose row was clicked, `on_key` hears the desk's keys."""

    _esm = _HERE / "case_table.js"
    _css = _HERE / "case_table.css"
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    columns = traitlets.List(traitlets.Dict()).tag(sync=True)
    sort = traitlets.Dict({"column": "", "descending": False}).tag(sync=True)
    chosen = traitlets.Unicode(allow_none=True, default_value=None).tag(sync=True)
    heard_keys = traitlets.List(traitlets.Unicode(), list(KEYS)).tag(sync=True)

    def fill(self, review: Review) -> None:
        """Shows a review as it stands."""
        names = review.run.score_names if review.run.scores else ()
        self.columns = [
            {"name": "case"},
            *({"name": name, "digits": 3} for name in names),
            {"name": "flags", "digits": 0},
            {"name": "why"},
            {"name": "verdict"},
            {"name": "others"},
        ]
        self.rows = [_widget_row(review, case, names) for case in review.cases]

    def on_key(self, react: Callable[[str], None]) -> None:
        """Calls `react` with each key of `KEYS` that is pressed on the desk."""
        self.on_msg(lambda _, content, __: react(str(content.get("key", ""))))


def show_review(review: Review) -> RichText:
    """The table without a front end: worst first, flags with their figures."""
    names = review.run.score_names if review.run.scores else ()
    header = ("case", *names, "flags", "why", "verdicts")
    rows = [
        (
            case.id,
            *(_show(case.scores.get(name)) for name in names),
            len(case.flags),
            "; ".join(map(str, case.flags)),
            ", ".join(f"{who}: {word.verdict}" for who, word in review.words(case.id).items()),
        )
        for case in review.cases
    ]
    text = "\n".join("  ".join(str(cell) for cell in row) for row in (header, *rows))
    return RichText(html_table(header, rows), text)


def _widget_row(review: Review, case: ReviewCase, names: Sequence[str]) -> dict:
    words = review.words(case.id)
    own = words.get(review.journal.reader)
    others = {who: word for who, word in words.items() if who != review.journal.reader}
    cells = {
        "case": case.id,
        **{name: case.scores.get(name) for name in names},
        "flags": len(case.flags),
        "why": ", ".join(dict.fromkeys(flag.name for flag in case.flags)),
        "verdict": own.verdict if own else "",
        "others": ", ".join(f"{who}: {word.verdict}" for who, word in others.items()),
    }
    tips = {"why": "\n".join(map(str, case.flags)), "verdict": own.note if own else ""}
    tips["others"] = "\n".join(f"{who}: {word.note}" for who, word in others.items() if word.note)
    return {"id": case.id, "cells": cells, "tips": tips}


def _show(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
