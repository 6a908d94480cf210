"""A return code of pyACL in an error is explained in the same line, for a worker as well."""

from __future__ import annotations

import pytest

from helpers.devices.base import DeviceFault, device_error


@pytest.fixture(autouse=True)
def english(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def test_a_return_code_is_explained_with_cause_and_remedy():
    error = device_error("the device failed", "acl.mdl.execute_async returned 507011: aicore", "failed")
    assert isinstance(error, DeviceFault) and error.kind == "failed"
    assert error.line().startswith(
        "the device failed: received acl.mdl.execute_async returned 507011: aicore. 507011: "
    )
    assert "The model failed on the device" in error.line() and "npu-smi info" in error.line()


def test_the_callers_remedy_follows_it():
    error = device_error("cannot open", "acl.mdl.load_from_file returned 507008", None, "Install CANN.")
    assert "for another kind of device" in error.line() and error.line().endswith("Install CANN.")


def test_text_without_a_code_is_unchanged():
    assert device_error("failed", "out of cheese", None).line() == "failed: received out of cheese"
    assert "999999." not in device_error("failed", "acl.x returned 999999", None).line()
