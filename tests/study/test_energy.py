"""Joules from the counters of powercap: several packages, a counter that starts again, and none that can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.study.energy import open_meter


def _package(root: Path, name: str, micros: int, top: int = 1000_000_000) -> Path:
    folder = root / name
    folder.mkdir(exist_ok=True)
    (folder / "energy_uj").write_text(f"{micros}\n", encoding="utf-8")
    (folder / "max_energy_range_uj").write_text(f"{top}\n", encoding="utf-8")
    return folder


def test_packages_are_summed_and_their_parts_are_not(tmp_path):
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        _package(tmp_path, name, 5_000_000)
    meter = open_meter(tmp_path)
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        _package(tmp_path, name, 7_000_000)
    assert meter() == pytest.approx(4.0)
    assert meter() == 0.0


def test_a_counter_that_starts_again_has_gone_on(tmp_path):
    _package(tmp_path, "intel-rapl:0", 999_000_000)
    meter = open_meter(tmp_path)
    _package(tmp_path, "intel-rapl:0", 2_000_000)
    assert meter() == pytest.approx(3.0)


def test_no_counter_or_a_damaged_one_gives_no_meter(tmp_path):
    assert open_meter(tmp_path) is None
    folder = _package(tmp_path, "intel-rapl:0", 1)
    (folder / "energy_uj").write_text("", encoding="utf-8")
    assert open_meter(tmp_path) is None
