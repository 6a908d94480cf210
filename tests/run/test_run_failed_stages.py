"""A stage that fails a check or is interrupted fails the run and leaves no partial files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from helpers.errors import DataError, GateError, ResourceError
from helpers.run import Check, StageOutput, read_run_status
from tests.run.counted_stage import Stage, files_of, read_record


class TestGate:
    CHECKS = (Check("Dice WT", True, "0.91, at least 0.85"), Check("Dice ET", False, "0.31, at least 0.70"))

    def test_a_failed_check_raises_with_its_figure(self, run):
        with pytest.raises(GateError, match=r"1 of 2 checks failed: received Dice ET: 0\.31, at least 0\.70"):
            Stage(checks=self.CHECKS).perform(run)

    def test_nothing_is_kept(self, run):
        with pytest.raises(GateError):
            Stage(checks=self.CHECKS).perform(run)
        assert files_of(run) == set()
        assert list(run.store.root.iterdir()) == []
        assert "work" not in run.results

    def test_the_run_fails_with_the_figure(self, run):
        with pytest.raises(GateError):
            Stage(checks=self.CHECKS).perform(run)
        content = read_record(run)
        assert content["status"] == "failed" and "0.31" in content["reason"]
        assert content["stages"]["work"]["status"] == "failed"
        assert read_run_status(run.path("run.json"))[0] == "failed"

    def test_it_is_not_reused(self, run):
        stage = Stage(checks=self.CHECKS)
        for _ in range(2):
            with pytest.raises(GateError):
                stage.perform(run)
        assert stage.calls == 2

    def test_files_from_other_inputs_are_removed(self, run):
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
        assert read_record(run)["status"] == "failed"

    def test_a_run_passes_after_the_stage_was_corrected(self, run):
        with pytest.raises(GateError):
            Stage(checks=self.CHECKS).perform(run)
        Stage().perform(run)
        run.finish()
        assert read_run_status(run.path("run.json")) == ("passed", "")


class TestFailure:
    @pytest.mark.parametrize("error", [ValueError("of all things"), DataError("case x", remedy="Fix it.")])
    def test_an_exception_propagates_and_fails_the_run(self, run, error):
        def make(folder: Path) -> StageOutput:
            (folder / "half.txt").write_text("half", encoding="utf-8")
            raise error

        with pytest.raises(type(error)):
            run.perform("work", "Some work", inputs={}, make=make)
        assert files_of(run) == set() and list(run.store.root.iterdir()) == []
        content = read_record(run)
        assert content["status"] == "failed" and str(error.args[0]) in content["reason"]

    def test_an_interrupt_fails_the_run(self, run):
        def make(folder: Path) -> StageOutput:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run.perform("work", "Some work", inputs={}, make=make)
        assert "KeyboardInterrupt" in read_record(run)["reason"]
        assert files_of(run) == set()

    def test_a_full_disk_is_one_clear_error_and_leaves_no_partial_file(self, run):
        def make(folder: Path) -> StageOutput:
            (folder / "half.txt").write_text("half", encoding="utf-8")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with pytest.raises(ResourceError) as caught:
            run.perform("work", "Some work", inputs={}, make=make)
        assert "no disk space left" in caught.value.line() and "\n" not in caught.value.line()
        assert files_of(run) == set() and list(run.store.root.iterdir()) == []
        assert "no disk space left" in read_record(run)["reason"]

    def test_a_disk_that_fills_during_the_copy_leaves_no_partial_file(self, run, monkeypatch):
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
        assert len(files_of(run)) == 1
        monkeypatch.undo()
        stage = Stage()
        assert stage.perform(run).status == "reused"
        assert {"a.txt", "b.txt"} <= files_of(run)

    def test_the_log_contains_the_traceback(self, run):
        def make(folder: Path) -> StageOutput:
            raise ValueError("of all things")

        with pytest.raises(ValueError):
            run.perform("work", "Some work", inputs={}, make=make)
        log = run.path("run.log").read_text(encoding="utf-8")
        assert "Traceback" in log and "of all things" in log
