"""A line of progress: at intervals in the log of a headless run, in one place in a notebook."""

from __future__ import annotations

import logging

from helpers.view import progress


def test_headless_lines_come_at_most_every_ten_seconds(monkeypatch, caplog):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO, "cookbook"), progress.report_progress("compile", False) as report:
        for now[0] in (100.2, 109.9, 110.1, 115.0, 120.3):
            report(f"{now[0]} s")
    assert [record.message for record in caplog.records] == ["compile: 110.1 s", "compile: 120.3 s"]


def test_a_notebook_shows_every_line_in_one_place(capsys, monkeypatch):
    import tqdm
    import tqdm.auto

    monkeypatch.setattr(tqdm.auto, "tqdm", tqdm.tqdm)  # the variant for terminals
    with progress.report_progress("compile", True) as report:
        report("ATC has run for 3 s")
    assert "compile: ATC has run for 3 s" in capsys.readouterr().err
