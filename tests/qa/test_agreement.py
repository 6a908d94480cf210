"""Several readers of one run: kappa on shared cases, disagreements first, adjudications that overwrite nothing."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.errors import DataError
from helpers.qa.adjudication import Adjudication, adjudicate, list_rejected, read_adjudications
from helpers.qa.agreement import compare_readers
from helpers.qa.agreement_files import write_agreement
from helpers.qa.finished import FinishedRun
from helpers.qa.journal import VERDICTS, Journal, read_verdicts
from helpers.recipes.base import LabelSet
from helpers.run.csv_file import read_csv

ROOT = Path(__file__).resolve().parents[2]
MASKS = {f"case_{number:02}": f"{number:064x}" for number in range(40)}
DECIDER = """
import sys
from pathlib import Path
from helpers.qa.adjudication import adjudicate
from helpers.qa.journal import read_verdicts
outputs = Path(sys.argv[1])
(subject, latest), = read_verdicts(outputs).latest().items()
for number in range(100_000):
    adjudicate(outputs, "carl", subject, latest, "accept", str(number))
    print(number, flush=True)
"""


@pytest.fixture
def run(tmp_path):
    """A run as far as its name and its hash."""
    recipe = SimpleNamespace(name="tiny")
    return FinishedRun(recipe, None, tmp_path / "tiny" / "demo-0a1b2c3d", 0.0, LabelSet(("background", "cube")), ())


@pytest.fixture
def judge(run, tmp_path):
    """Writes verdicts on the cases of `MASKS`: `judge("ann", {"case_00": "accept"})`."""

    def go(reader: str, verdicts: dict[str, str], masks: dict[str, str] = MASKS) -> None:
        journal = Journal(tmp_path, reader)
        for case, verdict in verdicts.items():
            journal.append("tiny", run.hash, case, masks[case], verdict, f"{reader} on {case}")

    return go


@pytest.fixture
def compare(run, tmp_path):
    return lambda readers=None: compare_readers(
        run, MASKS, read_verdicts(tmp_path), read_adjudications(tmp_path), readers
    )


def _forty(seed: int) -> dict[str, str]:
    codes = np.random.default_rng(0).choice(3, size=40, p=[0.6, 0.3, 0.1])
    changed = np.random.default_rng(seed).random(40) < 0.2
    return {case: VERDICTS[(code + change) % 3] for case, code, change in zip(MASKS, codes, changed, strict=True)}


def _decide(tmp_path, run, case: str, decision: str, who: str = "carl") -> Adjudication:
    subject = ("tiny", run.hash, case, MASKS[case])
    return adjudicate(tmp_path, who, subject, read_verdicts(tmp_path).latest().get(subject, {}), decision, "my note")


def test_two_readers_with_40_verdicts_equal_scikit_learn(judge, compare):
    from sklearn.metrics import cohen_kappa_score

    ann, bob = _forty(1), _forty(2)
    judge("ann", ann)
    judge("bob", bob)
    found = compare()
    differing = sum(ann[case] != bob[case] for case in MASKS)
    assert found.overall.value == pytest.approx(cohen_kappa_score([*ann.values()], [*bob.values()]), abs=1e-12)
    assert found.overall.raw == pytest.approx(1 - differing / 40) and 0 < differing < 20
    assert found.overall.interval[0] < found.overall.value < found.overall.interval[1]
    assert [case.disagrees for case in found.cases] == [True] * differing + [False] * (40 - differing)
    assert found.notes == () and found.pairs == ()


def test_three_readers_have_fleiss_and_each_pair_cohen(judge, compare):
    for seed, reader in enumerate(("ann", "bob", "carl")):
        judge(reader, _forty(seed))
    found = compare()
    assert found.overall.name == "Fleiss' kappa" and found.overall.cases == 40
    assert [pair.readers for pair in found.pairs] == [("ann", "bob"), ("ann", "carl"), ("bob", "carl")]
    assert compare(["ann", "bob"]).overall.value == found.pairs[0].value


def test_only_shared_cases_count_and_that_is_said(judge, compare):
    judge("ann", dict.fromkeys(list(MASKS)[:30], "accept"))
    judge("bob", dict.fromkeys(list(MASKS)[20:], "accept"))
    found = compare()
    assert found.overall.cases == 10
    assert found.overall.value is None and found.overall.reason == "all verdicts are the same"
    assert found.notes == ("Only the 10 cases that all readers judged count (judged: ann 30, bob 20).",)
    assert [case.status for case in found.cases] == ["agreed"] * 10 + ["one reader"] * 30


def test_the_last_of_two_verdicts_counts(judge, compare):
    judge("ann", {"case_00": "reject", "case_01": "reject"})
    judge("bob", {"case_00": "accept", "case_01": "reject"})
    judge("ann", {"case_00": "accept"})
    found = compare()
    assert found.overall.raw == 1.0 and not any(case.disagrees for case in found.cases)


def test_verdicts_on_a_mask_that_has_changed_do_not_count_and_that_is_said(judge, compare):
    judge("ann", {"case_00": "reject", "case_01": "accept"})
    judge("bob", {"case_00": "accept"}, masks={"case_00": "f" * 64})
    judge("bob", {"case_01": "accept"})
    found = compare()
    assert found.overall.cases == 1
    assert any("1 (case_00)" in line and "has changed since" in line for line in found.notes)


def test_one_reader_has_no_agreement(judge, compare):
    judge("ann", {"case_00": "accept"})
    assert compare().overall is None
    assert compare().notes == ("Agreement needs two readers or more: only ann has judged a mask.",)
    with pytest.raises(DataError, match="no verdict of dave"):
        compare(["ann", "dave"])


def test_accept_against_reject_comes_before_other_disagreements(judge, compare):
    judge("ann", {"case_01": "accept", "case_02": "accept", "case_03": "accept", "case_04": "accept"})
    judge("bob", {"case_01": "accept", "case_02": "unsure", "case_03": "reject"})
    assert [case.case for case in compare().cases[:4]] == ["case_03", "case_02", "case_01", "case_04"]


def test_an_adjudication_decides_and_overwrites_no_verdict(judge, compare, run, tmp_path):
    judge("ann", {"case_05": "accept", "case_06": "reject"})
    judge("bob", {"case_05": "reject", "case_06": "reject"})
    before, kappa = read_verdicts(tmp_path), compare().overall
    entry = _decide(tmp_path, run, "case_05", "accept")
    assert read_verdicts(tmp_path) == before and compare().overall == kappa
    case = next(case for case in compare().cases if case.case == "case_05")
    assert (case.status, case.final, case.adjudication) == ("adjudicated", "accept", entry)
    assert (entry.who, entry.verdicts, entry.note) == ("carl", {"ann": "accept", "bob": "reject"}, "my note")
    assert entry.when >= max(verdict.when for verdict in before.entries)
    rejected = list_rejected(before, read_adjudications(tmp_path))
    assert [(row.case, row.who) for row in rejected] == [("case_06", "ann"), ("case_06", "bob")]


def test_an_adjudicated_rejection_is_listed_under_the_name_of_its_reader(judge, run, tmp_path):
    judge("ann", {"case_05": "accept"})
    judge("bob", {"case_05": "unsure"})
    _decide(tmp_path, run, "case_05", "reject")
    (row,) = list_rejected(read_verdicts(tmp_path), read_adjudications(tmp_path))
    assert (row.case, row.who, row.note) == ("case_05", "carl", "my note")


def test_an_adjudication_no_longer_holds_once_a_reader_judges_again(judge, compare, run, tmp_path):
    judge("ann", {"case_05": "accept"})
    judge("bob", {"case_05": "reject"})
    _decide(tmp_path, run, "case_05", "accept")
    judge("ann", {"case_05": "unsure"})
    case = compare().cases[0]
    assert (case.case, case.status, case.final) == ("case_05", "judged again since the adjudication", "")
    assert [row.who for row in list_rejected(read_verdicts(tmp_path), read_adjudications(tmp_path))] == ["bob"]
    _decide(tmp_path, run, "case_05", "reject")
    assert compare().cases[-40].final == "reject" and len(read_adjudications(tmp_path).entries) == 2


def test_an_adjudication_of_all_readers_holds_when_few_are_compared(judge, compare, run, tmp_path):
    for reader, verdict in (("ann", "accept"), ("bob", "reject"), ("carl", "reject")):
        judge(reader, {"case_05": verdict})
    _decide(tmp_path, run, "case_05", "reject", "dora")
    assert next(case for case in compare(["ann", "bob"]).cases if case.verdicts).is_decided


def test_a_case_of_one_reader_cannot_be_adjudicated(judge, run, tmp_path):
    judge("ann", {"case_05": "accept"})
    with pytest.raises(DataError, match="nothing to adjudicate in case_05: received ann: accept"):
        _decide(tmp_path, run, "case_05", "reject")
    assert not read_adjudications(tmp_path).entries


def test_every_confirmed_adjudication_survives_kill_9(judge, tmp_path):
    judge("ann", {"case_05": "accept"})
    judge("bob", {"case_05": "reject"})
    for pause_s in (0.05, 0.0):
        command = [sys.executable, "-c", DECIDER, str(tmp_path)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", cwd=ROOT)
        first = writer.stdout.readline()
        time.sleep(pause_s)
        os.kill(writer.pid, signal.SIGKILL)
        lines = (first + writer.communicate()[0]).splitlines(keepends=True)
        confirmed = {line.strip() for line in lines if line.endswith("\n")}
        found = read_adjudications(tmp_path)
        assert confirmed and confirmed <= {entry.note for entry in found.entries}
    assert len(read_verdicts(tmp_path).entries) == 2 and read_verdicts(tmp_path).torn_lines == 0


def test_a_torn_adjudication_is_skipped_and_counted(judge, compare, run, tmp_path):
    judge("ann", {"case_05": "accept"})
    judge("bob", {"case_05": "reject"})
    entry = _decide(tmp_path, run, "case_05", "accept")
    (path,) = (tmp_path / ".qa" / "adjudications").glob("*.jsonl")
    path.write_bytes(entry.to_line() + entry.to_line()[:40])
    assert read_adjudications(tmp_path).entries == (entry,)
    assert any("1, ignored" in line for line in compare().notes)
    assert Adjudication.from_line(b'{"verdicts": []}\n') is None and Adjudication.from_line(b"[1]\n") is None


NASTY = ("=1+1", "-case", "+1+1", "@case", "\tcase", "\rcase", "<b>bold</b>")


@pytest.mark.parametrize("text", NASTY)
def test_no_cell_of_an_export_becomes_a_formula_and_no_name_a_tag(run, tmp_path, text):
    masks = {text: "0" * 64}
    for reader, verdict in ((f"{text} ann", "accept"), (f"{text} bob", "reject")):
        Journal(tmp_path, reader).append("tiny", run.hash, text, "0" * 64, verdict, f"{text} note")
    subject = ("tiny", run.hash, text, "0" * 64)
    adjudicate(tmp_path, f"{text} carl", subject, read_verdicts(tmp_path).latest()[subject], "unsure", f"{text} why")
    found = compare_readers(run, masks, read_verdicts(tmp_path), read_adjudications(tmp_path))
    table, content, page = write_agreement(found, tmp_path / "qa", "Tiny")
    raw = table.read_bytes().decode("utf-8").removeprefix("\ufeff")
    cells = [cell for row in csv.reader(io.StringIO(raw, newline="")) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    header, row = read_csv(table)
    assert dict(zip(header, row, strict=True))["case"] == text and f"{text} why" in row
    (case,) = json.loads(content.read_text(encoding="utf-8"))["cases"]
    assert case["case"] == text and case["adjudication"]["decision"] == "unsure" and case["final"] == "unsure"
    assert "<b>bold" not in page.read_text(encoding="utf-8")


def test_an_anonymous_page_names_no_case_and_no_reader(judge, compare, run, tmp_path):
    judge("Dr Smith", {"case_05": "accept", "case_06": "accept"})
    judge("Smith", {"case_05": "reject"})
    _decide(tmp_path, run, "case_05", "accept", "Dr Jones")
    found = compare()
    _, _, page = write_agreement(found, tmp_path / "qa", "Tiny", anonymise=True)
    text = page.read_text(encoding="utf-8")
    assert not [name for name in ("Smith", "Jones", "case_05", "2026-") if name in text]
    assert "reader 1" in text and "case 1" in text and "without names" in text
