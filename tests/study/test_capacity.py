"""Devices for a list of cases: whole cases per device, partial batches, and limits that cannot be held."""

from __future__ import annotations

import pytest

from helpers import cli
from helpers.study.capacity import plan_capacity


def test_a_partial_batch_takes_as_long_as_a_full_one():
    found = plan_capacity(latency_ms=1000, samples=9, cases=1, batch=4, other_s=2)
    assert found.case_s == 5.0


def test_a_device_runs_whole_cases():
    """Cases of 40 minutes: one device finishes one in an hour, and not one and a half."""
    found = plan_capacity(latency_ms=1000, samples=2400, cases=3, hours=1)
    assert found.devices == 3 and found.list_h == pytest.approx(2 / 3)
    assert found.cases_per_day == 36


@pytest.mark.parametrize("hours", [1, 2, 5, 30])
def test_the_list_is_done_in_time_and_with_one_device_less_it_is_not(hours):
    case = {"latency_ms": 700, "samples": 4000, "cases": 17}
    found = plan_capacity(**case, hours=hours)
    assert found.list_h <= hours
    if found.devices > 1:
        rounds = -(-17 // (found.devices - 1))
        assert rounds * found.case_s / 3600 > hours


def _run(capsys, *words: str) -> tuple[int, str, str]:
    code = cli.main(["capacity", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_gives_the_worked_example(capsys):
    work = ["--latency-ms", "4249.14", "--samples", "2744", "--cases", "27"]
    code, out, _ = _run(capsys, *work)
    assert code == 0 and "4 devices, done after 22.7 h" in out and "one case: 11659.6 s" in out
    code, _, err = _run(capsys, *work, "--hours", "3")
    assert code == 2 and "3.24 h" in err and err.count("\n") == 1
    code, _, err = _run(capsys, *work, "--batch", "0")
    assert code == 2 and "--batch" in err
