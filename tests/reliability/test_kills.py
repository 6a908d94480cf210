"""A run that is killed at any point leaves nothing half-written, and the next run makes the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest

from helpers.run.record import read_run_status
from tests.reliability.conftest import leftovers, shared_memory, torn_entries, torn_records

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# Of the whole pipeline, in chains: the run that a kill ended is started again, killed again, and at last left alone.
PIPELINE_KILLS = int(os.environ.get("COOKBOOK_KILLS", "6"))
CHAIN = 3


def results_of(outputs: Path) -> dict[str, bytes]:
    """The bytes of the only run's results: everything but its records and its log."""
    (folder,) = (path for path in outputs.glob("[!.]*/*") if path.is_dir())
    names = [*folder.glob("masks/*"), *folder.glob("*.bin"), *folder.glob("metrics.json"), *folder.rglob("*.onnx")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(names)}


def status_of(outputs: Path) -> set[str]:
    """The statuses of the runs in a folder: one, or none before it was recorded."""
    return {read_run_status(path)[0] for path in outputs.glob("*/*/run.json")}


def check_after_kill(outputs: Path, number: int, code: int, expected: dict[str, bytes]) -> None:
    """What holds right after a run was killed."""
    assert torn_entries(outputs) == [] and torn_records(outputs) == []
    assert code in ((0, 1, 130, -number) if number == signal.SIGINT else (0, -number))
    status = status_of(outputs)
    assert status <= {"failed"} or status == {"passed"}
    if status == {"passed"}:  # the signal came after the last stage
        assert results_of(outputs) == expected
    if number == signal.SIGTERM:
        assert leftovers(outputs) == []


def seconds_of(outputs: Path) -> float:
    """The seconds of the only run, from its record."""
    (record,) = outputs.glob("[!.]*/*/run.json")
    content = json.loads(record.read_text(encoding="utf-8"))
    return content["ended"] - content["started"]


@pytest.fixture(scope="module")
def undisturbed_small(small_stages, tmp_path_factory):
    """The results and the seconds of a run of small stages that nothing disturbs."""
    outputs = tmp_path_factory.mktemp("undisturbed")
    assert small_stages.run(outputs) == 0
    assert len(results_of(outputs)) == 24
    return results_of(outputs), seconds_of(outputs)


@pytest.fixture(scope="module")
def undisturbed(pipeline, tmp_path_factory):
    """The results and the seconds of a run of the pipeline that nothing disturbs."""
    outputs = tmp_path_factory.mktemp("undisturbed")
    assert pipeline.run(outputs) == 0
    assert len([name for name in results_of(outputs) if name.startswith("masks/")]) == 3
    return results_of(outputs), seconds_of(outputs)


@pytest.mark.parametrize("kills", [6, pytest.param(34, marks=pytest.mark.slow)])
def test_a_kill_costs_no_more_than_the_stage_that_was_running(small_stages, undisturbed_small, tmp_path, kills):
    expected, seconds = undisturbed_small
    draw, hit = random.Random(kills), 0
    for index in range(kills):
        outputs, number = tmp_path / str(index), SIGNALS[index % len(SIGNALS)]
        code = small_stages.run(outputs, number, draw.uniform(0.0, seconds))
        check_after_kill(outputs, number, code, expected)
        hit += code != 0
        kept = {path.name for path in (outputs / ".store").glob("[!.]*")}
        assert small_stages.run(outputs) == 0
        assert results_of(outputs) == expected
        assert leftovers(outputs) == [] and torn_entries(outputs) == []
        assert kept <= {path.name for path in (outputs / ".store").iterdir()}
        assert status_of(outputs) == {"passed"}
    assert hit > kills // 3  # enough signals came while the run ran


def test_a_terminated_run_says_so_in_its_record_and_its_log(small_stages, undisturbed_small, tmp_path):
    assert small_stages.run(tmp_path, signal.SIGTERM, undisturbed_small[1] / 2) == -signal.SIGTERM
    (record,) = tmp_path.glob("lamp/*/run.json")
    content = json.loads(record.read_text(encoding="utf-8"))
    assert (content["status"], content["reason"]) == ("failed", "ended by SIGTERM")
    assert "ended by SIGTERM" in record.with_name("run.log").read_text(encoding="utf-8")
    assert leftovers(tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("chain", range(-(-PIPELINE_KILLS // CHAIN)))
def test_after_kills_at_any_stage_the_results_are_the_same_bytes(pipeline, undisturbed, tmp_path, chain):
    expected, seconds = undisturbed
    before, draw = shared_memory(), random.Random(chain)
    for index in range(min(CHAIN, PIPELINE_KILLS - chain * CHAIN)):
        number = SIGNALS[(chain + index) % len(SIGNALS)]
        code = pipeline.run(tmp_path, number, draw.uniform(0.0, seconds))
        assert pipeline.has_ended()
        check_after_kill(tmp_path, number, code, expected)
    assert pipeline.run(tmp_path) == 0
    assert results_of(tmp_path) == expected
    assert leftovers(tmp_path) == [] and shared_memory() == before
    assert torn_entries(tmp_path) == [] and status_of(tmp_path) == {"passed"}
