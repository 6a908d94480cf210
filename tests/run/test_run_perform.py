"""A run makes, reuses, gates and records its stages."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from helpers.errors import DataError, GateError, ResourceError
from helpers.params import RunParams
from helpers.run import Check, Made, Run, read_run_status
from helpers.run.run import run_folder


@pytest.fixture
def runs(tmp_path):
    made: list[Run] = []

    def start(**given) -> Run:
        run = Run(RunParams(recipe="lamp", outputs=str(tmp_path / "outputs"), **given))
        made.append(run)
        return run

    yield start
    for run in made:
        run.record.end("passed")


@pytest.fixture
def run(runs) -> Run:
    return runs()


class Stage:
    """Counts how often it is really made."""

    def __init__(self, text: str = "hello", checks: tuple[Check, ...] = (), names=("out/a.txt", "b.txt"), **made):
        self.text, self.names, self.calls = text, names, 0
        self.made = Made(checks=checks, **made)

    def __call__(self, folder: Path) -> Made:
        self.calls += 1
        for name in self.names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"{self.text} {name}")
        return self.made

    def perform(self, run: Run, stage: str = "work", **inputs):
        return run.perform(stage, "Some work", inputs=inputs, make=self)


def _record(run: Run) -> dict:
    return json.loads(run.path("run.json").read_text(encoding="utf-8"))


def _files(run: Run) -> set[str]:
    return {path.name for path in run.folder.rglob("*") if path.is_file()} - {"run.json", "run.log"}


class TestMake:
    def test_files_appear_in_the_run_folder_with_what_was_made(self, run):
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
        stage = _record(run)["stages"]["work"]
        assert (stage["status"], stage["values"], stage["title"]) == ("made", {"v": 2}, "Some work")
        assert stage["seconds"] >= 0 and stage["bytes"] > 0 and "folder" not in stage

    def test_the_folder_is_named_by_profile_and_hash(self, run):
        assert run.folder == run_folder(run.params)
        assert run.folder.name == f"demo-{run.params.short_hash()}"
        assert run.folder.parent.name == "lamp"

    def test_the_record_tells_versions_and_parameters(self, run):
        content = _record(run)
        assert content["params"]["recipe"] == "lamp"
        assert content["environment"]["packages"]["numpy"]
        assert {"git_commit", "python", "machine"} <= set(content["environment"])

    def test_not_run_here_is_never_shown_as_made(self, run, runs):
        assert Stage(names=(), status="not run here").perform(run).status == "not run here"
        assert Stage(names=(), status="not run here").perform(runs()).status == "not run here"


class TestReuse:
    def test_a_second_perform_is_reused_without_calling_make(self, run, runs):
        stage = Stage(checks=(Check("fits", True, "0.1"),), values={"v": [1, 2]}, timings={"infer": 1.5})
        first = stage.perform(run, x=1)
        again = stage.perform(runs(), x=1)
        assert stage.calls == 1
        assert (first.status, again.status) == ("made", "reused")
        assert (again.checks, again.values, again.timings) == (first.checks, first.values, first.timings)

    def test_a_reused_table_has_its_rows_in_the_same_order(self, run, runs):
        stage = Stage(facts={"zebra": 1, "ant": 2, "mole": 3})
        assert list(stage.perform(run).facts) == list(stage.perform(runs()).facts) == ["zebra", "ant", "mole"]

    def test_other_inputs_are_made_anew(self, run):
        stage = Stage()
        stage.perform(run, x=1)
        assert stage.perform(run, x=2).status == "made"
        assert stage.calls == 2

    def test_another_stage_is_not_taken_for_it(self, run):
        stage = Stage()
        stage.perform(run, "one", x=1)
        assert stage.perform(run, "two", x=1).status == "made"

    def test_changed_code_is_made_anew(self, run, monkeypatch):
        stage = Stage()
        stage.perform(run)
        monkeypatch.setattr("helpers.run.run.digest_code", lambda: "other code")
        assert stage.perform(run).status == "made"

    def test_another_run_shares_the_work(self, run, runs):
        stage = Stage()
        stage.perform(run)
        other = runs(batch_size=2)
        assert other.folder != run.folder
        assert stage.perform(other).status == "reused"
        assert other.path("b.txt").is_file()

    def test_without_cache_everything_is_made_anew(self, runs):
        stage = Stage()
        for _ in range(2):
            assert stage.perform(runs(cache=False)).status == "made"
        assert stage.calls == 2

    @pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_text("mine")])
    def test_a_deleted_or_changed_file_redoes_just_that_stage(self, run, harm):
        stages = {f"infer/case_{n}": Stage(text=f"mask {n}", names=(f"masks/{n}.txt",)) for n in range(3)}
        for name, stage in stages.items():
            stage.perform(run, name, n=name)
        harm(run.path("masks/1.txt"))
        statuses = [stage.perform(run, name, n=name).status for name, stage in stages.items()]
        assert statuses == ["reused", "made", "reused"]
        assert [stage.calls for stage in stages.values()] == [1, 2, 1]
        assert run.path("masks/1.txt").read_text(encoding="utf-8") == "mask 1 masks/1.txt"

    def test_altered_work_in_the_store_is_made_anew(self, run, runs):
        stage = Stage()
        stage.perform(run)
        (entry,) = list(run.store.root.glob("*/b.txt"))
        entry.write_text("altered")
        other = runs(batch_size=2)
        assert stage.perform(other).status == "made"
        assert other.path("b.txt").read_text(encoding="utf-8") == "hello b.txt"


class TestGate:
    CHECKS = (Check("Dice WT", True, "0.91, at least 0.85"), Check("Dice ET", False, "0.31, at least 0.70"))

    def test_a_failed_check_raises_with_its_number(self, run):
        with pytest.raises(GateError, match=r"1 of 2 checks failed: received Dice ET: 0\.31, at least 0\.70"):
            Stage(checks=self.CHECKS).perform(run)

    def test_nothing_of_it_is_kept(self, run):
        with pytest.raises(GateError):
            Stage(checks=self.CHECKS).perform(run)
        assert _files(run) == set()
        assert list(run.store.root.iterdir()) == []
        assert "work" not in run.results

    def test_the_run_is_failed_with_the_number(self, run):
        with pytest.raises(GateError):
            Stage(checks=self.CHECKS).perform(run)
        content = _record(run)
        assert content["status"] == "failed" and "0.31" in content["reason"]
        assert content["stages"]["work"]["status"] == "failed"
        assert read_run_status(run.path("run.json"))[0] == "failed"

    def test_it_fails_again_instead_of_being_reused(self, run):
        stage = Stage(checks=self.CHECKS)
        for _ in range(2):
            with pytest.raises(GateError):
                stage.perform(run)
        assert stage.calls == 2

    def test_files_of_other_inputs_do_not_pass_for_this_ones(self, run):
        Stage(text="good").perform(run, checkpoint="old")
        Stage(names=("other.txt",)).perform(run, "other")
        with pytest.raises(GateError):
            Stage(text="bad", checks=self.CHECKS).perform(run, checkpoint="new")
        assert not run.path("b.txt").exists() and not run.path("out/a.txt").exists()
        assert run.path("other.txt").exists()

    def test_a_run_with_a_failed_stage_does_not_pass(self, run):
        with pytest.raises(GateError):
            Stage(checks=self.CHECKS).perform(run)
        Stage().perform(run, "later")
        with pytest.raises(GateError, match="Some work"):
            run.finish()
        assert _record(run)["status"] == "failed"

    def test_a_run_passes_once_the_stage_was_mended(self, run):
        with pytest.raises(GateError):
            Stage(checks=self.CHECKS).perform(run)
        Stage().perform(run)
        run.finish()
        assert read_run_status(run.path("run.json")) == ("passed", "")


class TestFailure:
    @pytest.mark.parametrize("error", [ValueError("of all things"), DataError("case x", remedy="Mend it.")])
    def test_an_exception_passes_through_and_fails_the_run(self, run, error):
        def make(folder: Path) -> Made:
            (folder / "half.txt").write_text("half")
            raise error

        with pytest.raises(type(error)):
            run.perform("work", "Some work", inputs={}, make=make)
        assert _files(run) == set() and list(run.store.root.iterdir()) == []
        content = _record(run)
        assert content["status"] == "failed" and str(error.args[0]) in content["reason"]

    def test_an_interrupt_fails_the_run(self, run):
        def make(folder: Path) -> Made:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run.perform("work", "Some work", inputs={}, make=make)
        assert "KeyboardInterrupt" in _record(run)["reason"]
        assert _files(run) == set()

    def test_a_full_disk_is_one_line_and_leaves_no_half_file(self, run):
        def make(folder: Path) -> Made:
            (folder / "half.txt").write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with pytest.raises(ResourceError) as caught:
            run.perform("work", "Some work", inputs={}, make=make)
        assert "no disk space left" in caught.value.line() and "\n" not in caught.value.line()
        assert _files(run) == set() and list(run.store.root.iterdir()) == []
        assert "no disk space left" in _record(run)["reason"]

    def test_a_disk_that_fills_while_files_are_placed_leaves_no_half_file(self, run, monkeypatch):
        from helpers.run import atomic

        real, copied = atomic.shutil.copyfile, []

        def copyfile(source, target):
            if copied:
                Path(target).write_bytes(b"half")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            copied.append(real(source, target))

        monkeypatch.setattr(atomic.shutil, "copyfile", copyfile)
        with pytest.raises(ResourceError):
            Stage().perform(run)
        assert len(_files(run)) == 1
        monkeypatch.undo()
        stage = Stage()
        assert stage.perform(run).status == "reused"
        assert {"a.txt", "b.txt"} <= _files(run)

    def test_the_log_holds_the_traceback(self, run):
        def make(folder: Path) -> Made:
            raise ValueError("of all things")

        with pytest.raises(ValueError):
            run.perform("work", "Some work", inputs={}, make=make)
        log = run.path("run.log").read_text(encoding="utf-8")
        assert "Traceback" in log and "of all things" in log


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


class TestMeasure:
    def test_steps_of_one_name_add_up(self):
        import time

        from helpers.run.measure import Stopwatch

        watch = Stopwatch()
        for _ in range(2):
            with watch.time("read"):
                time.sleep(0.01)
        assert 0.02 <= watch.seconds["read"] < 2

    def test_the_peak_covers_what_was_freed_inside(self):
        import time

        import numpy as np

        from helpers.run.measure import peak_memory

        with peak_memory(0.005) as small:
            time.sleep(0.03)
        with peak_memory(0.005) as large:
            block = np.ones(25_000_000)  # 200 MB
            time.sleep(0.05)
            del block
        assert large["peak_rss_mb"] > small["peak_rss_mb"] + 150


def test_the_log_of_a_former_run_is_let_go(runs):
    first, second = runs(), runs(batch_size=2)
    Stage().perform(second)
    assert "Some work" in second.path("run.log").read_text(encoding="utf-8")
    assert "Some work" not in first.path("run.log").read_text(encoding="utf-8")
