"""A finished run of the tiny recipe, whose objects are explored."""

from __future__ import annotations

import pytest

from tests.stages.conftest import outputs, run_pipeline, tiny
from tests.stages.pipeline import QUICK

__all__ = ["outputs", "run_pipeline", "tiny"]


@pytest.fixture(scope="module")
def done(run_pipeline, outputs):
    """Recipe and run up to the scores."""
    return run_pipeline(outputs, until="score", **QUICK)
