"""Runs of a recipe that does not exist; they end after the test."""

from __future__ import annotations

import pytest

from helpers.params import RunParams
from helpers.run import Run


@pytest.fixture
def runs(tmp_path):
    made: list[Run] = []

    def start(**given) -> Run:
        run = Run(RunParams(recipe="lamp", outputs=str(tmp_path / "outputs"), **given))
        made.append(run)
        return run

    yield start
    for run in made:
        run.record.end("passed")


@pytest.fixture
def run(runs) -> Run:
    return runs()
