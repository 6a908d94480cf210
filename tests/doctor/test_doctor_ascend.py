"""The doctor's lines on Ascend, with the double of CANN on PATH and without."""

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


def test_names_chip_load_release_and_opsets(cann):
    cann.write_text("package_name=Ascend-cann-toolkit\nversion=7.0.RC1\n")
    facts = describe_ascend()
    assert facts["Ascend chips"] == ("NPU 0 chip 0: 310P3, OK, AI core 0 %, 1074 of 21534 MB, for ATC Ascend310P3")
    assert facts["atc (CANN)"].endswith("bin/atc, CANN 7.0.RC1, reads ONNX opsets 9 to 18")


def test_a_cann_that_does_not_say_its_version_is_told(cann):
    assert "of unknown version, its opsets are not known here" in describe_ascend()["atc (CANN)"]


def test_a_module_that_is_not_canns_is_named(tmp_path, monkeypatch):
    (tmp_path / "acl.py").write_text("raise RuntimeError('must not be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert describe_ascend()["acl (CANN)"].startswith(str(tmp_path / "acl.py"))


def test_without_any_of_it_each_line_says_where_it_comes_from(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "acl", None)
    monkeypatch.setattr("helpers.doctor.hardware.importlib.util.find_spec", lambda name: None)
    facts = describe_ascend()
    assert facts["Ascend chips"] == "none that npu-smi tells"
    assert all("not from pip" in facts[name] for name in ("atc (CANN)", "acl (CANN)"))
