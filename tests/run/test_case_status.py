"""How far a run is, read from its record by another process."""

from __future__ import annotations

import json
import threading
import time

import pytest

from helpers.cli.main import main
from helpers.errors import DataError
from helpers.params import RunParams
from helpers.run import Run, StageOutput
from helpers.run.case_status import CaseStatus, prometheus_text, read_case_status, show_duration
from helpers.run.record import RunRecord


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "lamp" / "cpu-12"


def _write(folder, **content):
    folder.mkdir(parents=True, exist_ok=True)
    base = {"params": {}, "environment": {}, "status": "passed", "stages": {}, "heartbeat": 1000.0, "started": 100.0}
    (folder / "run.json").write_text(json.dumps({**base, **content}), encoding="utf-8")


def _case(status, ended=0.0, seconds=0.0, reason=""):
    return {"status": status, "ended": ended, "seconds": seconds, "reason": reason}


DATA = {"status": "made", "values": {"cases": ["a", "b", "c", "d", "e"]}}


def test_cases_are_counted_by_state(folder):
    stages = {"data": DATA, "infer/a": _case("made", 700, 100), "infer/b": _case("reused", 701)}
    stages |= {"infer/c": _case("failed", reason="no disk"), "infer/d": _case("made", 1000, 50)}
    now = time.time()
    _write(folder, stages=stages, status="running", heartbeat=now, host="elsewhere", running={"infer/e": now})
    status = read_case_status(folder)
    assert status.counts() == {"done": 3, "failed": 1, "running": 1, "waiting": 0}
    assert status.failed == {"c": "no disk"} and list(status.running) == ["e"]
    # Two cases were made since second 600, by the clock of the record.
    assert status.per_hour == pytest.approx(2 / (now - 600) * 3600)
    assert status.seconds_left == pytest.approx((now - 600) / 2)


def test_a_finished_run_has_its_own_rate_and_nothing_left(folder):
    _write(folder, stages={"data": DATA, "infer/a": _case("made", 700, 100), "infer/d": _case("made", 1000, 50)})
    status = read_case_status(folder)
    assert (status.per_hour, status.seconds_left, status.status) == (2 / 400 * 3600, 0.0, "passed")


def test_before_the_data_are_listed_nothing_is_guessed(folder, capsys):
    _write(folder, status="running", heartbeat=time.time(), host="elsewhere")
    status = read_case_status(folder)
    assert (status.total, status.waiting, status.per_hour, status.seconds_left) == (None, None, None, None)
    assert main(["status", str(folder)]) == 0
    assert "unknown" in capsys.readouterr().out


def test_a_dead_run_has_failed(folder, capsys):
    _write(folder, status="running", heartbeat=time.time() - 100, running={"infer/a": 1}, stages={"data": DATA})
    assert main(["status", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "failed" in out and "no heartbeat for 100 s" in out and "running: " not in out


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert main(["status", str(tmp_path)]) == 1
    assert "no run in" in capsys.readouterr().err


def test_a_damaged_record_is_refused(folder):
    _write(folder, stages={"infer/a": {"status": "made"}})
    with pytest.raises(DataError, match=r"run\.json is damaged"):
        read_case_status(folder)


def test_the_prometheus_file_holds_the_same_figures(folder, tmp_path, capsys):
    _write(folder, stages={"data": DATA, "infer/a": _case("made", 700, 100), "infer/b": _case("failed")})
    target = tmp_path / "cookbook.prom"
    assert main(["status", str(folder), "--prometheus", str(target)]) == 0
    text = target.read_text(encoding="utf-8")
    assert f'cookbook_cases{{run="{folder}",state="done"}} 1\n' in text
    assert f'cookbook_cases{{run="{folder}",state="waiting"}} 3\n' in text
    assert f'cookbook_cases_per_hour{{run="{folder}"}} 36\n' in text
    assert text.count("# TYPE") == 6 and text.endswith("\n")


def test_a_label_cannot_end_its_quotes(tmp_path):
    text = prometheus_text([CaseStatus(tmp_path / 'a"b\\c\nd', "failed", "", 1, 0)])
    assert r"a\"b\\c\nd" in text and len(text.splitlines()) == 2 * 5 + 4 + 4


def test_a_run_says_what_is_running(tmp_path):
    run, go, begun = Run(RunParams(recipe="lamp", outputs=str(tmp_path))), threading.Event(), threading.Event()

    def make(folder):
        begun.set()
        go.wait(10)
        return StageOutput()

    thread = threading.Thread(target=lambda: run.perform("infer/a", "A", inputs={}, make=make))
    thread.start()
    begun.wait(10)
    run.record.update(note="written")
    assert list(read_case_status(run.folder).running) == ["a"]
    go.set()
    thread.join()
    status = read_case_status(run.folder)
    assert (status.done, list(status.running)) == (1, [])


def test_a_long_record_is_written_by_the_heartbeat_alone(tmp_path, monkeypatch):
    writes = []
    monkeypatch.setattr("helpers.run.record.write_json", lambda path, content: writes.append(len(content["stages"])))
    record = RunRecord(tmp_path / "run.json", {})
    for number in range(250):
        record.set_stage(f"infer/{number}", {"status": "made"})
    assert writes[:3] == [0, 1, 2] and len(writes) < 210
    record.end("passed")
    assert writes[-1] == 250


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (59.6, "1 min"), (3600, "1 h"), (86399, "23 h 59 min")])
def test_durations(seconds, text):
    assert show_duration(seconds) == text
