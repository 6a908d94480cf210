"""A run makes, reuses and records its stages."""

from __future__ import annotations

import pytest

from helpers.run import Check, StageOutput
from helpers.run.run import run_folder
from tests.run.counted_stage import Stage, read_record


class TestMake:
    def test_files_and_output_reach_the_run(self, run):
        stage = Stage(checks=(Check("fits", True, "0.1"),), facts={"n": 1}, values={"v": 2}, next_step="Go on.")
        result = stage.perform(run)
        assert run.path("out/a.txt").read_text(encoding="utf-8") == "hello out/a.txt"
        assert (result.status, set(result.files)) == ("made", {"out/a.txt", "b.txt"})
        assert result.bytes == len("hello out/a.txt") + len("hello b.txt")
        assert (result.values, result.facts, result.next_step) == ({"v": 2}, {"n": 1}, "Go on.")
        assert result.checks == (Check("fits", True, "0.1"),)
        assert run.results["work"] is result

    def test_the_record_holds_the_stage(self, run):
        Stage(values={"v": 2}).perform(run)
        stage = read_record(run)["stages"]["work"]
        assert (stage["status"], stage["values"], stage["title"]) == ("made", {"v": 2}, "Some work")
        assert stage["seconds"] >= 0 and stage["bytes"] > 0 and "folder" not in stage

    def test_the_folder_is_named_by_profile_and_hash(self, run):
        assert run.folder == run_folder(run.params)
        assert run.folder.name == f"demo-{run.params.short_hash()}"
        assert run.folder.parent.name == "lamp"

    def test_the_record_contains_versions_and_parameters(self, run):
        content = read_record(run)
        assert content["params"]["recipe"] == "lamp"
        assert content["environment"]["packages"]["numpy"]
        assert {"git_commit", "python", "machine"} <= set(content["environment"])

    def test_not_run_here_is_never_shown_as_made(self, run, runs):
        assert Stage(names=(), status="not run here").perform(run).status == "not run here"
        assert Stage(names=(), status="not run here").perform(runs()).status == "not run here"


class TestReuse:
    def test_a_second_perform_is_reused(self, run, runs):
        stage = Stage(checks=(Check("fits", True, "0.1"),), values={"v": [1, 2]}, timings={"infer": 1.5})
        first = stage.perform(run, x=1)
        again = stage.perform(runs(), x=1)
        assert stage.calls == 1
        assert (first.status, again.status) == ("made", "reused")
        assert (again.checks, again.values, again.timings) == (first.checks, first.values, first.timings)

    def test_a_reused_table_keeps_the_order_of_its_rows(self, run, runs):
        stage = Stage(facts={"zebra": 1, "ant": 2, "mole": 3})
        assert list(stage.perform(run).facts) == list(stage.perform(runs()).facts) == ["zebra", "ant", "mole"]

    def test_files_that_are_in_place_are_not_written_again(self, run, runs):
        stage = Stage()
        stage.perform(run)
        names = ("out/a.txt", "b.txt", ".stages/work.json")
        before = [run.path(name).stat().st_ino for name in names]
        again = runs()
        assert stage.perform(again).status == "reused"
        assert [again.path(name).stat().st_ino for name in names] == before

    def test_the_stages_that_were_performed_are_told_from_the_reused_ones(self, run, runs):
        Stage().perform(run, "one")
        again = runs()
        Stage().perform(again, "one")
        Stage().perform(again, "two")
        assert (run.made, again.made) == ({"one"}, {"two"})

    def test_other_inputs_make_it_again(self, run):
        stage = Stage()
        stage.perform(run, x=1)
        assert stage.perform(run, x=2).status == "made"
        assert stage.calls == 2

    def test_another_stage_has_another_key(self, run):
        stage = Stage()
        stage.perform(run, "one", x=1)
        assert stage.perform(run, "two", x=1).status == "made"

    def test_other_code_makes_it_again(self, run):
        stage = Stage()
        statuses = [
            run.perform("work", "Some work", inputs={}, make=stage, code=(part,)).status for part in (str, str, bytes)
        ]
        assert statuses == ["made", "reused", "made"]

    def test_the_maker_is_part_of_the_code(self, run):
        def other(folder):
            return StageOutput()

        Stage().perform(run)
        assert run.perform("work", "Some work", inputs={}, make=other).status == "made"

    def test_another_run_shares_the_entry(self, run, runs):
        stage = Stage()
        stage.perform(run)
        other = runs(batch_size=2)
        assert other.folder != run.folder
        assert stage.perform(other).status == "reused"
        assert other.path("b.txt").is_file()

    def test_without_the_cache_everything_is_made_again(self, runs):
        stage = Stage()
        for _ in range(2):
            assert stage.perform(runs(cache=False)).status == "made"
        assert stage.calls == 2

    @pytest.mark.parametrize(
        "harm", [lambda path: path.unlink(), lambda path: path.write_text("mine", encoding="utf-8")]
    )
    def test_a_deleted_or_changed_file_redoes_just_that_stage(self, run, harm):
        stages = {f"infer/case_{n}": Stage(text=f"mask {n}", names=(f"masks/{n}.txt",)) for n in range(3)}
        for name, stage in stages.items():
            stage.perform(run, name, n=name)
        harm(run.path("masks/1.txt"))
        statuses = [stage.perform(run, name, n=name).status for name, stage in stages.items()]
        assert statuses == ["reused", "made", "reused"]
        assert [stage.calls for stage in stages.values()] == [1, 2, 1]
        assert run.path("masks/1.txt").read_text(encoding="utf-8") == "mask 1 masks/1.txt"

    def test_a_changed_entry_is_made_again(self, run, runs):
        stage = Stage()
        stage.perform(run)
        (entry,) = list(run.store.root.glob("*/b.txt"))
        entry.write_text("altered", encoding="utf-8")
        other = runs(batch_size=2)
        assert stage.perform(other).status == "made"
        assert other.path("b.txt").read_text(encoding="utf-8") == "hello b.txt"


class TestResult:
    def test_shows_itself_as_text_and_html(self, run):
        checks = (Check("a <b> & c", True, "1 < 2"),)
        result = Stage(checks=checks, facts={"<i>": "&"}, next_step="Look.").perform(run)
        text, html = str(result), result._repr_html_()
        assert "Some work: made" in text and "✓ a <b> & c: 1 < 2" in text
        assert "&lt;b&gt; &amp; c" in html and "<b> & c" not in html and "&lt;i&gt;" in html
        assert "<code>out/a.txt</code>" in html and "Look." in html

    @pytest.mark.parametrize(
        ("count", "shown"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (2.5e9, "2.5 GB")]
    )
    def test_bytes_have_a_unit(self, count, shown):
        from helpers.run.result import _show_bytes

        assert _show_bytes(int(count)) == shown
