"""Where the reference data lies, for the tests of this folder that need real files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def reference_data() -> Path:
    """The folder that COOKBOOK_DATA names; skips where it names none."""
    root = os.environ.get("COOKBOOK_DATA")
    if not root:
        pytest.skip("COOKBOOK_DATA names no folder of reference data")
    return Path(root)
