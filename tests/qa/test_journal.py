"""Verdicts survive kills, full disks and concurrent readers."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.errors import DataError, ResourceError
from helpers.qa.journal import REJECT, Journal, Verdict, export_rejected, export_verdicts, read_verdicts
from helpers.run.csv_file import read_csv

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import sys
from pathlib import Path
from helpers.qa.journal import Journal
journal = Journal(Path(sys.argv[1]), sys.argv[2])
for number in range(int(sys.argv[3])):
    journal.append("tiny", "0a1b2c3d", f"case_{number}", "f" * 64, "reject", f"{sys.argv[2]} \\n says 坏 {number}")
    print(number, flush=True)
"""


def _start(outputs: Path, reader: str, count: int) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, str(outputs), reader, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("readers", [("ann", "bob"), ("ann", "ann")], ids=["two readers", "one reader twice"])
def test_two_processes_that_write_500_verdicts_each_give_1000_rows(tmp_path, readers):
    writers = [_start(tmp_path, reader, 500) for reader in readers]
    assert [writer.communicate(timeout=120)[0].count("\n") for writer in writers] == [500, 500]
    rows = _rows(export_verdicts(read_verdicts(tmp_path), tmp_path / "qa.csv"))
    assert len(rows) == 1000
    assert sorted(row["note"] for row in rows) == sorted(
        f"{reader} \n says 坏 {number}" for reader in readers for number in range(500)
    )
    assert sum(row["last word"] == "yes" for row in rows) == 500 * len(set(readers))


def test_every_confirmed_verdict_survives_kill_9(tmp_path):
    confirmed = set()
    for pause_s in (0.02, 0.05, 0.11, 0.0, 0.07):
        writer = _start(tmp_path, "ann", 100_000)
        first = writer.stdout.readline()
        time.sleep(pause_s)
        os.kill(writer.pid, signal.SIGKILL)
        # A last line without its line break was not confirmed.
        lines = (first + writer.communicate()[0]).splitlines(keepends=True)
        confirmed |= {(writer.pid, int(line)) for line in lines if line.endswith("\n")}
        highest = max(number for pid, number in confirmed if pid == writer.pid)
        found = read_verdicts(tmp_path).entries
        assert len(found) >= len(confirmed)
        assert {f"case_{number}" for number in range(highest + 1)} <= {entry.case for entry in found}
    assert len(_rows(export_verdicts(read_verdicts(tmp_path), tmp_path / "qa.csv"))) >= len(confirmed) >= 5


@pytest.mark.parametrize("kept_bytes", [1, 40, -2, -1])
def test_a_torn_last_line_is_skipped_and_the_next_verdict_is_on_its_own_line(tmp_path, kept_bytes):
    journal = Journal(tmp_path, "ann")
    journal.append("tiny", "0a", "case_1", "f0", "accept")
    whole = journal.path.read_bytes()
    journal.append("tiny", "0a", "case_2", "f0", "reject")
    line = journal.path.read_bytes()[len(whole) :]
    journal.path.write_bytes(whole + line[:kept_bytes])
    complete = kept_bytes == -1  # only the line break is missing: the verdict is complete
    found = read_verdicts(tmp_path)
    assert (len(found.entries), found.torn_lines) == ((2, 0) if complete else (1, 1))
    journal.append("tiny", "0a", "case_3", "f0", "unsure")
    cases = [entry.case for entry in read_verdicts(tmp_path).entries]
    assert cases == (["case_1", "case_2", "case_3"] if complete else ["case_1", "case_3"])


def test_a_full_disk_is_reported_and_keeps_nothing_of_the_verdict(tmp_path, monkeypatch):
    journal = Journal(tmp_path, "ann")
    journal.append("tiny", "0a", "case_1", "f0", "accept")
    before, write = journal.path.read_bytes(), os.write
    calls = []

    def fill(file, content):
        calls.append(file)
        if len(calls) == 1:
            return write(file, content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("helpers.qa.journal.os.write", fill)
    with pytest.raises(ResourceError, match="no disk space left"):
        journal.append("tiny", "0a", "case_2", "f0", "accept")
    assert journal.path.read_bytes() == before


def test_a_verdict_is_flushed_before_it_is_confirmed(tmp_path, monkeypatch):
    order, sync, write = [], os.fsync, os.write
    monkeypatch.setattr("helpers.qa.journal.os.write", lambda *given: order.append("write") or write(*given))
    monkeypatch.setattr("helpers.qa.journal.os.fsync", lambda file: order.append("sync") or sync(file))
    Journal(tmp_path, "ann").append("tiny", "0a", "case_1", "f0", "accept")
    assert order[-2:] == ["write", "sync"]


@pytest.mark.parametrize("name", ["reader one", "读片者", "../../etc/passwd", "a/b", ".hidden", "a.b@c.org"])
def test_every_reader_name_gets_its_own_file_in_the_folder(tmp_path, name):
    journal = Journal(tmp_path, name)
    journal.append("tiny", "0a", "case_1", "f0", "accept")
    assert [path.parent for path in tmp_path.rglob("*.jsonl")] == [tmp_path / ".qa"]
    assert [entry.who for entry in read_verdicts(tmp_path).entries] == [name]


@pytest.mark.parametrize("name", ["", "   ", "x" * 300])
def test_an_empty_or_long_name_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="invalid reader's name"):
        Journal(tmp_path, name)


def test_an_unknown_verdict_is_refused(tmp_path):
    with pytest.raises(DataError, match="accept, reject, unsure"):
        Journal(tmp_path, "ann").append("tiny", "0a", "case_1", "f0", "fine")


def test_the_latest_verdict_of_each_reader_counts_and_one_rejection_is_enough(tmp_path):
    ann, bob = Journal(tmp_path, "ann"), Journal(tmp_path, "bob")
    for journal, case, verdict in (
        (ann, "1", "reject"),
        (bob, "1", "accept"),
        (ann, "2", "reject"),
        (ann, "2", "accept"),
    ):
        journal.append("tiny", "0a", case, "f0", verdict)
        time.sleep(0.002)
    rows = _rows(export_rejected(read_verdicts(tmp_path), tmp_path / "rejected.csv"))
    assert [(row["who"], row["case"]) for row in rows] == [("ann", "1")]


def test_the_latest_verdict_is_the_one_written_last_even_if_the_clock_goes_back(tmp_path):
    journal = Journal(tmp_path, "ann")
    entry = journal.append("tiny", "0a", "1", "f0", "reject")
    earlier = Verdict("2001" + entry.when[4:], "ann", "tiny", "0a", "1", "f0", "accept")
    with open(journal.path, "ab") as stream:
        stream.write(earlier.to_line())
    assert read_verdicts(tmp_path).latest()["tiny", "0a", "1", "f0"]["ann"].verdict == "accept"


def test_a_verdict_on_another_mask_is_separate(tmp_path):
    journal = Journal(tmp_path, "ann")
    journal.append("tiny", "0a", "1", "old", "reject")
    journal.append("tiny", "0a", "1", "new", "accept")
    latest = read_verdicts(tmp_path).latest()
    assert latest["tiny", "0a", "1", "old"]["ann"].verdict == "reject"
    assert latest["tiny", "0a", "1", "new"]["ann"].verdict == "accept"


def test_a_line_of_another_program_is_not_a_verdict():
    assert Verdict.from_line(b'{"verdict": "accept"}\n') is None
    assert Verdict.from_line(b"[1, 2]\n") is None


@pytest.mark.parametrize("case", ["=1+1", "-case", "+1+1", "@case", "'quoted", "\tcase", "plain"])
def test_a_case_whose_name_is_a_formula_is_text_in_both_exports(tmp_path, case):
    Journal(tmp_path, "ann").append("lamp", "1a2b", case, "0" * 64, REJECT, "=cmd|'/c calc'!A0")
    for export, name in ((export_verdicts, "qa.csv"), (export_rejected, "rejected.csv")):
        path = export(read_verdicts(tmp_path), tmp_path / name)
        (row,) = _rows(path)
        assert row["case"][0] not in "=+-@\t" and row["note"].startswith("'=cmd")
        header, restored = read_csv(path)
        assert dict(zip(header, restored, strict=True))["case"] == case


@pytest.mark.parametrize("note", ["\ud800", "caf\udce9", "\ud83d\ude00"[:1]])
def test_text_without_an_encoding_is_saved_read_and_exported(tmp_path, note):
    Journal(tmp_path, "ann").append("lamp", "1a2b", "case", "0" * 64, REJECT, note)
    (entry,) = read_verdicts(tmp_path).entries
    assert entry.note == (note if note == "caf\udce9" else "\ufffd")
    assert read_csv(export_rejected(read_verdicts(tmp_path), tmp_path / "rejected.csv"))[1][-1] == entry.note
