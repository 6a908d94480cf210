"""The sortable table of cases as a widget, and the keys of the desk that it passes to the kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from helpers.qa.review import Review, ReviewCase

_HERE = Path(__file__).parent
KEYS = {
    "a": "accept",
    "r": "reject",
    "u": "unsure",
    "n": "next unreviewed case",
    "c": "write a note",
    "m": "next overlay (prediction, truth, errors, …)",
    "w": "worst slice",
    "e": "largest error",
}


class CaseTable(anywidget.AnyWidget):
    """The cases of a review, one per row; `chosen` is the case whose row was clicked."""

    _esm = _HERE / "case_table.js"
    _css = _HERE / "case_table.css"
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    columns = traitlets.List(traitlets.Dict()).tag(sync=True)
    sort = traitlets.Dict({"column": "", "descending": False}).tag(sync=True)
    chosen = traitlets.Unicode(allow_none=True, default_value=None).tag(sync=True)
    forwarded_keys = traitlets.List(traitlets.Unicode(), list(KEYS)).tag(sync=True)

    def fill(self, review: Review) -> None:
        """Shows the current state of a review."""
        self.columns = [
            {"name": "case"},
            *({"name": name, "digits": 3} for name in review.score_names),
            {"name": "flags", "digits": 0},
            {"name": "reasons"},
            {"name": "verdict"},
            {"name": "other readers"},
        ]
        self.rows = [_row(review, case) for case in review.cases]

    def on_key(self, react: Callable[[str], None]) -> None:
        """Calls `react` with each key of `KEYS` that is pressed on the desk."""
        self.on_msg(lambda _, content, __: react(str(content.get("key", ""))))


def _row(review: Review, case: ReviewCase) -> dict[str, Any]:
    """The cells of a case and what is shown when the pointer rests on them."""
    latest = review.latest_verdicts(case.id)
    own = latest.get(review.journal.reader)
    others = {who: entry for who, entry in latest.items() if who != review.journal.reader}
    cells = {
        "case": case.id,
        **{name: case.scores.get(name) for name in review.score_names},
        "flags": len(case.flags),
        "reasons": ", ".join(dict.fromkeys(flag.name for flag in case.flags)),
        "verdict": own.verdict if own else "",
        "other readers": ", ".join(f"{who}: {entry.verdict}" for who, entry in others.items()),
    }
    tips = {
        "reasons": "\n".join(map(str, case.flags)),
        "verdict": own.note if own else "",
        "other readers": "\n".join(f"{who}: {entry.note}" for who, entry in others.items() if entry.note),
    }
    return {"id": case.id, "cells": cells, "tips": tips}
