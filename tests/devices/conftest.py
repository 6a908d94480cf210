"""Models for the tests of the Ascend device."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.devices.ascend_models import convert_gears, convert_static, run_on_double


@pytest.fixture(scope="session")
def static_om(tmp_path_factory) -> Path:
    """Batches of two."""
    return convert_static(tmp_path_factory.mktemp("static"), 2)


@pytest.fixture(scope="session")
def gears_om(tmp_path_factory) -> Path:
    """Batches of one, two or four."""
    return convert_gears(tmp_path_factory.mktemp("gears"), 1, 2, 4)


@pytest.fixture
def on_double(tmp_path):
    """Runs a program on the double of acl and returns what it said, with the reports."""
    return partial(run_on_double, folder=tmp_path)
