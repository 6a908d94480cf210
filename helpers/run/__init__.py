"""A run: its folder, its record, the cache of stages, and what a stage returns."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from helpers.run.record import RunRecord, read_record, read_run_status
    from helpers.run.result import Check, StageOutput, StageResult, StageResults
    from helpers.run.run import Run

__all__ = [
    "Check",
    "Run",
    "RunRecord",
    "StageOutput",
    "StageResult",
    "StageResults",
    "read_record",
    "read_run_status",
]

_HOMES = {
    "Check": "result",
    "StageOutput": "result",
    "Run": "run",
    "RunRecord": "record",
    "StageResult": "result",
    "StageResults": "result",
    "read_record": "record",
    "read_run_status": "record",
}


def __getattr__(name: str) -> object:
    # Imported on first use: a machine with numpy alone uses `atomic` and lacks the packages that a run needs.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"helpers.run.{_HOMES[name]}"), name)
