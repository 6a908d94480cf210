"""A dead run is never reported as running or passed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.errors import DataError
from helpers.run import record as recording
from helpers.run.record import RunRecord, mark_failed, read_record, read_run_status

ROOT = Path(__file__).resolve().parents[2]


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _change(path: Path, **fields) -> None:
    path.write_text(json.dumps({**_read(path), **fields}), encoding="utf-8")


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(recording, "HEARTBEAT_S", 0.02)


@pytest.fixture
def record(tmp_path):
    made = RunRecord(tmp_path / "run" / "run.json", {"params": {"a": 1}})
    yield made
    made.end("passed")


def _wait_for(condition, seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_starts_as_running_with_process_and_content(record):
    content = _read(record.path)
    assert (content["status"], content["pid"], content["params"]) == ("running", os.getpid(), {"a": 1})
    assert read_run_status(record.path) == ("running", "")


def test_ends_with_the_given_status(record):
    record.end("failed", "because")
    assert read_run_status(record.path) == ("failed", "because")
    record.end("passed")
    assert read_run_status(record.path) == ("passed", "")


def test_has_a_heartbeat_only_while_it_runs(fast, tmp_path):
    record = RunRecord(tmp_path / "run.json", {})
    first = _read(record.path)["heartbeat"]
    assert _wait_for(lambda: _read(record.path)["heartbeat"] > first)
    record.end("passed")
    time.sleep(0.1)
    last = record.path.stat().st_mtime_ns
    time.sleep(0.1)
    assert record.path.stat().st_mtime_ns == last


def test_the_heartbeat_does_not_restore_a_removed_folder(fast, tmp_path):
    record = RunRecord(tmp_path / "run" / "run.json", {})
    time.sleep(0.05)
    for _ in range(20):  # a heartbeat may be in progress
        for path in record.path.parent.glob("*"):
            path.unlink(missing_ok=True)
        try:
            record.path.parent.rmdir()
            break
        except OSError:
            continue
    time.sleep(0.2)
    assert not record.path.parent.exists()
    record.end("passed")


def test_the_heartbeat_survives_a_full_disk(fast, tmp_path, monkeypatch):
    from helpers.errors import ResourceError

    record = RunRecord(tmp_path / "run.json", {})
    real, fails = recording.write_json, [5]

    def write(path, content):
        if fails[0]:
            fails[0] -= 1
            raise ResourceError("no disk space left")
        real(path, content)

    monkeypatch.setattr(recording, "write_json", write)
    before = _read(record.path)["heartbeat"]
    assert _wait_for(lambda: fails[0] == 0 and _read(record.path)["heartbeat"] > before)
    record.end("passed")


def test_a_second_record_of_the_same_file_replaces_the_first(fast, tmp_path):
    first = RunRecord(tmp_path / "run.json", {"which": "first"})
    second = RunRecord(tmp_path / "run.json", {"which": "second"})
    second.end("passed")
    time.sleep(0.2)
    assert _read(tmp_path / "run.json")["which"] == "second"
    first._fail_at_exit()
    assert read_run_status(tmp_path / "run.json") == ("passed", "")


def test_a_record_with_an_old_heartbeat_is_failed(record):
    _change(record.path, heartbeat=time.time() - recording.STALE_AFTER_S - 5)
    status, reason = read_run_status(record.path)
    assert status == "failed" and "no heartbeat for 35 s" in reason


def test_a_record_of_a_dead_process_is_failed_at_once(record):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    _change(record.path, pid=done.pid)
    status, reason = read_run_status(record.path)
    assert status == "failed" and str(done.pid) in reason


def test_a_process_of_another_machine_is_judged_by_its_heartbeat(record):
    _change(record.path, pid=2**22 + 1, host="somewhere-else")
    assert read_run_status(record.path)[0] == "running"


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"status": "running"}', "null"])
def test_an_unreadable_record_is_failed(tmp_path, content):
    path = tmp_path / "run.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    status, reason = read_run_status(path)
    assert status == "failed" and reason


def test_a_record_is_read_back_from_the_folder(record):
    _change(record.path, environment={})
    assert read_record(record.path.parent)["params"] == {"a": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no run in"),
        ("{", "cannot be read"),
        ("null", "cannot be read"),
        ('{"params": {}, "stages": {}}', "incomplete: received no environment, status"),
    ],
)
def test_a_missing_or_damaged_record_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "run.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_record(tmp_path)


def test_a_dead_run_is_marked_and_one_that_ended_is_left_alone(record):
    mark_failed(record.path, "killed")
    assert (_read(record.path)["status"], _read(record.path)["reason"]) == ("failed", "killed")
    record.end("passed")
    mark_failed(record.path, "killed")
    assert _read(record.path)["status"] == "passed"


def test_a_cause_replaces_the_remark_that_the_kernel_ended(record):
    record._fail_at_exit()
    assert "ended before" in _read(record.path)["reason"]
    mark_failed(record.path, "DataError: case x lacks t2")
    assert _read(record.path)["reason"] == "DataError: case x lacks t2"
    mark_failed(record.path, "something later")
    assert _read(record.path)["reason"] == "DataError: case x lacks t2"


def test_marking_a_missing_record_does_nothing(tmp_path):
    mark_failed(tmp_path / "run.json", "killed")
    assert not (tmp_path / "run.json").exists()


def test_stages_are_recorded_in_the_order_they_ended(record):
    for name in ("zebra", "ant", "zebra"):
        record.set_stage(name, {"status": "made"})
        time.sleep(0.002)
    stages = _read(record.path)["stages"]
    assert sorted(stages, key=lambda name: stages[name]["ended"]) == ["ant", "zebra"]


CHILD = """
import sys
from pathlib import Path
from helpers.run.record import RunRecord
record = RunRecord(Path(sys.argv[1]), {})
%s
"""


def _child(path: Path, last_line: str) -> int:
    return subprocess.run([sys.executable, "-c", CHILD % last_line, str(path)], cwd=ROOT, timeout=60).returncode


@pytest.mark.parametrize("last_line", ["", "sys.exit(3)", "1 / 0"])
def test_a_process_that_ends_early_fails_its_run(tmp_path, last_line):
    _child(tmp_path / "run.json", last_line)
    content = _read(tmp_path / "run.json")
    assert content["status"] == "failed" and "before the run's last step" in content["reason"]


def test_a_record_of_a_killed_process_is_failed(tmp_path):
    code = _child(tmp_path / "run.json", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert code == -9
    assert _read(tmp_path / "run.json")["status"] == "running"
    assert read_run_status(tmp_path / "run.json")[0] == "failed"


def test_a_process_that_finished_its_run_stays_passed(tmp_path):
    assert _child(tmp_path / "run.json", "record.end('passed')") == 0
    assert read_run_status(tmp_path / "run.json") == ("passed", "")


class TestHeartbeats:
    @pytest.mark.parametrize(
        "value", ["NaN", "Infinity", "-Infinity", '"soon"', "null", "[]", "{}", "1e999", "9" * 5000]
    )
    def test_what_is_no_time_is_failed(self, record, value):
        text = json.dumps({**_read(record.path), "heartbeat": 0.5}).replace("0.5", value)
        record._mute()
        record.path.write_text(text, encoding="utf-8")
        assert read_run_status(record.path)[0] == "failed"

    @pytest.mark.parametrize(
        ("offset_s", "status"), [(-20, "running"), (20, "running"), (-40, "failed"), (40, "failed")]
    )
    @pytest.mark.parametrize("host", ["here", "elsewhere"])
    def test_the_clock_may_be_off_by_30_s_in_either_direction(self, record, offset_s, status, host):
        record._mute()
        fields = {
            "heartbeat": time.time() + offset_s,
            **({"host": "elsewhere", "pid": 1} if host == "elsewhere" else {}),
        }
        _change(record.path, **fields)
        assert read_run_status(record.path)[0] == status

    def test_a_heartbeat_in_the_future_is_named(self, record):
        record._mute()
        _change(record.path, heartbeat=time.time() + 3600)
        assert "in the future; a clock is or was wrong" in read_run_status(record.path)[1]

    @pytest.mark.parametrize("pid", [None, "12", -5, 10**30, 1.5, []])
    def test_a_process_id_that_is_none_is_failed(self, record, pid):
        record._mute()
        _change(record.path, pid=pid)
        assert read_run_status(record.path)[0] == "failed"

    @pytest.mark.parametrize("status", ["finished", None, 3, []])
    def test_an_unknown_status_is_failed(self, record, status):
        record._mute()
        _change(record.path, status=status)
        assert read_run_status(record.path)[0] == "failed"

    @pytest.mark.parametrize("content", ["[]", "3", "null", '"x"', "{}", "[" * 5000, '{"status": "running"}'])
    def test_a_damaged_record_is_failed_and_stays_as_it_is(self, tmp_path, content):
        path = tmp_path / "run.json"
        path.write_text(content, encoding="utf-8")
        assert read_run_status(path)[0] == "failed"
        if content != '{"status": "running"}':
            mark_failed(path, "why")
            assert path.read_text(encoding="utf-8") == content
