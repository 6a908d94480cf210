"""A stage's result in a notebook: its table immediately, then its pictures, drawn on demand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from helpers.run import Check, StageOutput, StageResults, read_run_status
from tests.run.counted_stage import Stage, read_record


def _save_picture(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2)).save(path)


class Drawing:
    """A stage that draws one picture of another stage, and counts how often."""

    def __init__(self, run, fails: BaseException | None = None):
        self.run, self.fails, self.calls = run, fails, 0

    def __call__(self):
        return self.run.perform("draw_work", "Picture of work", inputs={}, make=self.make, essential=False)

    def make(self, folder: Path) -> StageOutput:
        self.calls += 1
        if self.fails:
            raise self.fails
        _save_picture(folder, "figures/work.png")
        return StageOutput(pictures={"figures/work.png": "Red <b> is bad."})


@pytest.fixture
def shown(monkeypatch):
    """What was displayed: bundles as dictionaries, images as "png"."""
    import IPython.display

    found = []
    monkeypatch.setattr(
        IPython.display, "display", lambda item, raw=False: found.append(item if raw else item.format)
    )
    return found


def _illustrated(run, **drawing):
    draw = Drawing(run, **drawing)
    run.illustrations = {"work": draw}
    return Stage(facts={"cases": 3}).perform(run), draw


class TestOneResult:
    def test_nothing_is_drawn_before_it_is_displayed(self, run):
        _, draw = _illustrated(run)
        assert draw.calls == 0 and not run.path("figures").exists()

    def test_the_table_is_shown_before_the_caption_and_the_picture(self, run, shown):
        result, _ = _illustrated(run)
        result._ipython_display_()
        table, caption, picture = shown
        assert "cases" in table["text/html"] and table["text/plain"] == str(result)
        assert caption["text/plain"] == "Red <b> is bad." and "&lt;b&gt;" in caption["text/html"]
        assert picture == "png"
        assert run.path("figures/work.png").is_file()

    def test_pictures_are_files_of_the_run_with_their_captions(self, run):
        result, _ = _illustrated(run)
        assert result.pictures == {"figures/work.png": "Red <b> is bad."}

    def test_a_picture_is_drawn_once(self, run, shown):
        result, draw = _illustrated(run)
        for _ in range(2):
            result._ipython_display_()
        assert draw.calls == 1

    def test_a_reused_stage_reuses_its_picture(self, run, runs):
        result, _ = _illustrated(run)
        assert result.pictures
        again, draw = _illustrated(runs(batch_size=2))
        assert again.status == "reused" and again.pictures == result.pictures
        assert draw.calls == 0 and draw.run.path("figures/work.png").is_file()

    def test_a_stage_shows_its_own_pictures_in_its_order(self, run, shown):
        def make(folder: Path) -> StageOutput:
            _save_picture(folder, "figures/a.png")
            _save_picture(folder, "figures/b.png")
            (folder / "c.json").write_text("{}", encoding="utf-8")
            return StageOutput(pictures={"figures/b.png": "First.", "figures/a.png": ""})

        result = run.perform("work", "Some work", inputs={}, make=make)
        result._ipython_display_()
        assert list(result.pictures) == ["figures/b.png", "figures/a.png"]
        assert [item if item == "png" else item["text/plain"] for item in shown[1:]] == ["First.", "png", "png"]

    def test_a_result_without_a_picture_is_its_table(self, run, shown):
        Stage().perform(run)._ipython_display_()
        assert len(shown) == 1

    def test_the_record_holds_neither_captions_nor_functions(self, run):
        result, _ = _illustrated(run)
        assert {"own_pictures", "illustrate", "folder"} & set(result.to_json()) == set()
        assert json.loads(json.dumps(result.to_json()))["facts"] == {"cases": 3}


class TestFailedPicture:
    def test_the_figures_stand_and_a_line_says_why(self, run, shown):
        result, _ = _illustrated(run, fails=ValueError("no font"))
        result._ipython_display_()
        table, line = shown
        assert "Some work" in table["text/plain"] and "ValueError: no font" in line["text/plain"]

    def test_the_run_can_pass(self, run, shown):
        result, _ = _illustrated(run, fails=ValueError("no font"))
        result._ipython_display_()
        run.finish()
        assert read_run_status(run.path("run.json")) == ("passed", "")
        assert "Traceback" in run.path("run.log").read_text(encoding="utf-8")

    def test_it_is_drawn_at_the_next_look(self, run, shown):
        result, draw = _illustrated(run, fails=ValueError("no font"))
        result._ipython_display_()
        draw.fails = None
        result._ipython_display_()
        assert shown[-1] == "png"

    def test_an_interrupt_while_drawing_fails_the_run(self, run, shown):
        result, _ = _illustrated(run, fails=KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            result._ipython_display_()
        assert read_record(run)["status"] == "failed"


class TestSeveralResults:
    @pytest.fixture
    def masks(self, run):
        results = [
            Stage(names=(f"{case}.txt",), facts={"found": found}, simulated=case == "b").perform(run, f"infer/{case}")
            for case, found in (("a", "liver <1>"), ("b", "nothing"))
        ]
        self.draw = Drawing(run)
        return StageResults("Masks", results, self.draw)

    def test_they_behave_as_a_sequence(self, masks):
        assert len(masks) == 2 and masks[0].stage == "infer/a" and masks[-1].stage == "infer/b"
        assert [result.stage for result in masks] == ["infer/a", "infer/b"]
        assert [result.stage for result in masks[1:]] == ["infer/b"]
        assert not StageResults("Masks", [])

    def test_they_are_one_table_with_a_row_per_item(self, masks):
        table = masks._repr_html_()
        assert table.count("<table") == 1 and table.count("<tr>") == 3
        assert "liver &lt;1&gt;" in table and "infer/" not in table

    def test_a_check_is_one_line_for_all(self, run):
        check = Check("mask read back", True, "equal")
        results = [Stage(checks=(check,)).perform(run, f"infer/{case}") for case in "abc"]
        assert StageResults("Masks", results)._repr_html_().count("mask read back: 3 of 3") == 1

    def test_a_doubles_seconds_are_called_simulated(self, masks):
        assert masks._repr_html_().count("simulated") == 1 and str(masks).count("simulated") == 1

    def test_they_show_one_picture(self, masks, shown):
        masks._ipython_display_()
        assert shown[0]["text/plain"] == str(masks)
        assert shown.count("png") == 1 and self.draw.calls == 1

    def test_none_at_all_are_an_empty_table(self, shown):
        StageResults("Masks", [])._ipython_display_()
        assert len(shown) == 1 and shown[0]["text/html"].count("<tr>") == 1
