"""Tables of a run, and progress in notebooks and headless runs."""

from __future__ import annotations

import logging

import numpy as np

from helpers.run.result import StageResult
from helpers.view import show_case_table, show_published
from helpers.view.progress import is_interactive, show_progress
from helpers.view.tables import html_table


def _result(stage: str, folder: str = "", files: tuple[str, ...] = (), **timings: float) -> StageResult:
    return StageResult(stage, stage, "made", files, (), {}, {}, 1.0, 0, "", timings, folder)


class TestTable:
    def test_numbers_are_right_aligned_and_text_is_left_aligned(self):
        table = html_table(("name", "value"), [("a", "1,234.5"), ("b", "–"), ("c", "50%")])
        assert table.count("text-align:right") == 4 and table.count("text-align:left") == 4

    def test_a_column_with_one_word_is_text(self):
        assert "text-align:right" not in html_table(("value",), [("1",), ("none",)])

    def test_content_is_escaped(self):
        table = html_table(("<b>",), [("a & <script>",)])
        assert "<script>" not in table and "a &amp; &lt;script&gt;" in table and "&lt;b&gt;" in table

    def test_a_table_without_rows_has_its_header(self):
        assert html_table(("a", "b"), []).count("<th") == 3  # thead and two cells


class TestCaseTable:
    def test_shows_seconds_memory_and_scores(self):
        rows = [_result("infer/a", read=0.1, infer=2.345, peak_rss_mb=812.6), _result("infer/b")]
        table = show_case_table(rows, {"a": {"WT": 0.91234, "ET": None}}, ("WT", "ET"))
        first, second = repr(table).splitlines()[1:]
        assert first.split() == ["a", "made", "0.10", "0.00", "2.35", "0.00", "813", "0.912", "–"]
        assert second.split() == ["b", "made", "0.00", "0.00", "0.00", "0.00", "0", "–", "–"]
        assert "0.912" in table._repr_html_()


class TestPublished:
    def test_the_source_is_above_its_figures(self):
        text, page = repr(show_published("nnunet_heart")), show_published("nnunet_heart")._repr_html_()
        assert text.splitlines()[0].startswith("Source: Cambricon/magicmind_cloud, ")
        assert page.index("Cambricon/magicmind_cloud") < page.index("<table")


class TestInteractive:
    def test_jupyter_sets_a_session_name(self, monkeypatch):
        monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
        assert is_interactive() is False
        monkeypatch.setenv("JPY_SESSION_NAME", "x.ipynb")
        assert is_interactive() is True

    def test_the_parameter_takes_precedence(self, monkeypatch):
        monkeypatch.setenv("JPY_SESSION_NAME", "x.ipynb")
        assert is_interactive(False) is False
        monkeypatch.delenv("JPY_SESSION_NAME")
        assert is_interactive(True) is True


class TestProgress:
    def test_a_headless_run_gets_plain_lines_and_no_bar(self, caplog, capsys):
        with caplog.at_level(logging.INFO, logger="cookbook"):
            assert list(show_progress(["a", "b"], "infer", interactive=False)) == ["a", "b"]
        assert [record.getMessage() for record in caplog.records] == ["infer 1 of 2", "infer 2 of 2"]
        assert capsys.readouterr().err == ""

    def test_a_notebook_gets_a_bar(self, monkeypatch):
        import tqdm.auto

        seen = []
        monkeypatch.setattr(tqdm.auto, "tqdm", lambda items, desc: seen.append(desc) or items)
        assert list(show_progress([1, 2], "infer", interactive=True)) == [1, 2]
        assert seen == ["infer"]


def test_figures_are_equal_bytes(tmp_path):
    from helpers.view.figures.canvas import new_figure, save_figure

    for name in ("a.png", "b.png"):
        figure = new_figure(2, 2)
        figure.subplots().imshow(np.arange(16).reshape(4, 4))
        save_figure(figure, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


class TestFinishedRun:
    def test_its_stages_are_shown_in_the_order_they_ended(self, tmp_path):
        import time

        from helpers.run.record import RunRecord
        from helpers.view.tables import show_run

        record = RunRecord(tmp_path / "run.json", {"params": {}, "environment": {}})
        for title in ("Zebra", "Ant"):
            record.set_stage(title.lower(), {"title": title, "status": "made", "seconds": 1.0, "checks": [{}]})
            time.sleep(0.002)
        record.end("passed")
        assert [line.split()[0] for line in repr(show_run(tmp_path)).splitlines()] == ["stage", "Zebra", "Ant"]
