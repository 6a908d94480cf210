"""A result that a circumstance decided is not reused, and a damaged record of a stage counts as not there."""

from __future__ import annotations

import json

import pytest

from helpers.errors import GateError
from helpers.run import Check
from tests.run.counted_stage import Stage, files_of

TORN = ["", "{", '{"key": "', "[]", "null", '{"key": 3, "files": {}}', '{"key": "a"}', '{"key": "a", "files": []}']


class TestNotReusable:
    def test_the_run_goes_on_with_the_files(self, run):
        result = Stage(reusable=False).perform(run)
        assert result.status == "made" and result.bytes > 0
        assert run.path("b.txt").read_text(encoding="utf-8") == "hello b.txt"

    def test_the_next_run_makes_it_again(self, runs):
        stage = Stage(reusable=False)
        for _ in range(3):
            assert stage.perform(runs()).status == "made"
        assert stage.calls == 3

    def test_nothing_of_it_stays_in_the_store(self, run):
        Stage(reusable=False).perform(run)
        assert list(run.store.root.iterdir()) == []

    def test_a_good_result_is_kept_after_it(self, runs):
        Stage(reusable=False).perform(runs())
        assert Stage().perform(runs()).status == "made"
        assert Stage().perform(runs()).status == "reused"

    def test_a_good_result_that_exists_is_found_before_it(self, runs):
        Stage().perform(runs())
        poor = Stage(reusable=False)
        assert poor.perform(runs()).status == "reused" and poor.calls == 0


class TestDamagedRecords:
    @pytest.mark.parametrize("content", [*TORN, "\0" * 50, '{"key": "a", "files": ' + "[" * 5000])
    def test_a_torn_record_does_not_block_the_run(self, run, content):
        stage = Stage()
        stage.perform(run)
        run.path(".stages/work.json").write_text(content, encoding="utf-8")
        assert stage.perform(run).status == "reused"
        assert json.loads(run.path(".stages/work.json").read_text(encoding="utf-8"))["key"]

    @pytest.mark.parametrize("content", TORN)
    def test_nor_a_stage_that_fails(self, run, content):
        Stage().perform(run)
        run.path(".stages/work.json").write_text(content, encoding="utf-8")
        with pytest.raises(GateError, match="1 of 1 checks failed"):
            Stage(checks=(Check("Dice", False, "0.1"),)).perform(run, other=True)

    def test_it_is_said_in_the_log(self, run):
        Stage().perform(run)
        run.path(".stages/work.json").write_text("{", encoding="utf-8")
        Stage().perform(run)
        assert "work.json is damaged and counts as not there" in run.path("run.log").read_text(encoding="utf-8")

    def test_a_record_cannot_remove_a_file_outside_of_the_run(self, run, tmp_path):
        (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
        record = run.path(".stages/work.json")
        record.parent.mkdir()
        record.write_text(json.dumps({"key": "old", "files": {"../../../mine.txt": "0"}}), encoding="utf-8")
        with pytest.raises(GateError):
            Stage(checks=(Check("Dice", False, "0.1"),)).perform(run)
        assert (tmp_path / "mine.txt").exists() and files_of(run) == {"work.json"}

    @pytest.mark.parametrize("content", ['{"result": 3, "files": {}}', '{"result": {}, "files": 7}', "[" * 5000])
    def test_a_damaged_entry_of_the_store_does_not_block_the_run(self, run, content):
        stage = Stage()
        stage.perform(run)
        next(run.store.root.glob("*/entry.json")).write_text(content, encoding="utf-8")
        assert stage.perform(run).status == "made"
