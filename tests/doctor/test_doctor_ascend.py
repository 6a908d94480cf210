"""The doctor's description of Ascend, with and without the double of CANN on PATH."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from helpers.doctor.hardware import describe_ascend

DOUBLE = Path(__file__).parents[1] / "doubles" / "cann"


@pytest.fixture
def cann(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", f"{DOUBLE / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("CANN_DOUBLE_PYTHON", sys.executable)
    monkeypatch.setenv("CANN_DOUBLE_DEVICES", "1")
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(tmp_path))
    return tmp_path / "ascend_toolkit_install.info"


def test_names_device_load_release_and_opsets(cann):
    cann.write_text("package_name=Ascend-cann-toolkit\nversion=7.0.RC1\n", encoding="utf-8")
    facts = describe_ascend()
    assert facts["Ascend devices"] == ("NPU 0 chip 0: 310P3, OK, AI core 0 %, 1074 of 21534 MB, for ATC Ascend310P3")
    assert facts["atc (CANN)"].endswith("bin/atc, CANN 7.0.RC1, ONNX opsets 9 to 18")


def test_an_unknown_version_of_cann_is_reported(cann):
    assert "of unknown version, unknown opsets" in describe_ascend()["atc (CANN)"]


def test_a_module_that_is_not_canns_is_named(tmp_path, monkeypatch):
    (tmp_path / "acl.py").write_text("raise RuntimeError('must not be imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert describe_ascend()["acl (CANN)"].startswith(str(tmp_path / "acl.py"))


def test_without_cann_each_line_names_its_source(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "acl", None)
    monkeypatch.setattr("helpers.doctor.hardware.importlib.util.find_spec", lambda name: None)
    facts = describe_ascend()
    assert facts["Ascend devices"] == "none reported by npu-smi"
    assert all("not from pip" in facts[name] for name in ("atc (CANN)", "acl (CANN)"))
