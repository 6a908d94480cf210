"""The folder of reference data, for the tests of this folder that need real files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def reference_data() -> Path:
    """The folder in COOKBOOK_DATA; skips the test if it is not set."""
    root = os.environ.get("COOKBOOK_DATA")
    if not root:
        pytest.skip("COOKBOOK_DATA is not set")
    return Path(root)
