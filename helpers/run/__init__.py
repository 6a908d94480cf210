"""A run: its folder, its record, the store of what was made before, and what a stage returns."""

from helpers.run.record import RunRecord, read_run_status
from helpers.run.result import Check, Made, StageResult
from helpers.run.run import Run

__all__ = ["Check", "Made", "Run", "RunRecord", "StageResult", "read_run_status"]
