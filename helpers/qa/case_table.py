"""The sortable tables of cases and lesions as widgets, and the keys of the desk that they pass to the kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from helpers.qa.review import Review, ReviewCase
from helpers.scoring.lesions import Lesion, LesionMap

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


class RowTable(anywidget.AnyWidget):
    """A sortable table; `chosen` is the id of the row that was clicked."""

    _esm = _HERE / "case_table.js"
    _css = _HERE / "case_table.css"
    rows = traitlets.List(traitlets.Dict()).tag(sync=True)
    columns = traitlets.List(traitlets.Dict()).tag(sync=True)
    sort = traitlets.Dict({"column": "", "descending": False}).tag(sync=True)
    chosen = traitlets.Unicode(allow_none=True, default_value=None).tag(sync=True)
    forwarded_keys = traitlets.List(traitlets.Unicode(), []).tag(sync=True)
    has_keys = traitlets.Bool(False).tag(sync=True)  # j, k, n and the forwarded ones, anywhere on the desk


class LesionTable(RowTable):
    """The lesions of the open case, one per row: missed and false ones first."""

    def fill(self, maps: Mapping[str, LesionMap]) -> None:
        """Shows the lesions of each structure; `lesions` finds them by the id of their row."""
        self.lesions = {
            f"{name} {lesion.kind} {lesion.number}": (name, lesion)
            for name, found in maps.items()
            for lesion in sorted(found.lesions, key=_worst_lesion_first)
        }
        self.columns = [
            {"name": "structure"},
            {"name": "lesion"},
            {"name": "size mm³", "digits": 0},
            {"name": "predicted mm³", "digits": 0},
            {"name": "Dice", "digits": 3},
            {"name": "voxel x, y, z"},
            {"name": "counts"},
        ]
        self.rows = [{"id": key, "cells": _lesion_cells(*found), "tips": {}} for key, found in self.lesions.items()]


class CaseTable(RowTable):
    """The cases of a review, one per row; `chosen` is the case whose row was clicked."""

    forwarded_keys = traitlets.List(traitlets.Unicode(), list(KEYS)).tag(sync=True)
    has_keys = traitlets.Bool(True).tag(sync=True)

    def choose_next(self) -> None:
        """Moves to the next case without a verdict, in the order that the page shows."""
        self.send({"do": "next unreviewed"})

    def fill(self, review: Review) -> None:
        """Shows the current state of a review."""
        self.columns = [
            {"name": "case"},
            *({"name": name, "digits": 3} for name in _shown_scores(review)),
            {"name": "flags", "digits": 0},
            {"name": "reasons"},
            {"name": "verdict"},
            {"name": "other readers"},
        ]
        self.rows = [_row(review, case) for case in review.cases]

    def on_key(self, react: Callable[[str], None]) -> None:
        """Calls `react` with each key of `KEYS` that is pressed on the desk."""
        self.on_msg(lambda _, content, __: react(str(content.get("key", ""))))


def _shown_scores(review: Review) -> list[str]:
    """The scores, and the metric that the cases are sorted by."""
    return [*review.score_names, *(name for name in review.metric_names if name == review.order_by)]


def _worst_lesion_first(lesion: Lesion) -> tuple[bool, int, float, float]:
    kind = ("missed", "false", "found").index(lesion.kind)
    return not lesion.counts, kind, lesion.dice, -lesion.volume_mm3


def _lesion_cells(structure: str, lesion: Lesion) -> dict[str, object]:
    return {
        "structure": structure,
        "lesion": lesion.kind,
        "size mm³": lesion.volume_mm3,
        "predicted mm³": lesion.predicted_mm3,
        "Dice": lesion.dice,
        "voxel x, y, z": ", ".join(map(str, lesion.centre[::-1])),
        "counts": "yes" if lesion.counts else "too small",
    }


def _row(review: Review, case: ReviewCase) -> dict[str, Any]:
    """The cells of a case and what is shown when the pointer rests on them."""
    latest = review.latest_verdicts(case.id)
    own = latest.get(review.journal.reader)
    others = {who: entry for who, entry in latest.items() if who != review.journal.reader}
    cells = {
        "case": case.id,
        **{name: {**case.metrics, **case.scores}.get(name) for name in _shown_scores(review)},
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
