"""A runtime is one of ours, by name."""

from __future__ import annotations

import pytest

from helpers.devices.open import session_file
from helpers.errors import DeviceError


def test_a_bundles_runtime_is_no_path(tmp_path):
    (tmp_path / "evil_session.py").write_text("")
    with pytest.raises(DeviceError, match="unsupported runtime"):
        session_file(str(tmp_path / "evil"))
    assert session_file("openvino").is_file()
