"""JupyterLab in a real browser, offline: notebook 01 to its end with a live 3-D view, then a verdict in 07."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from notebook_page import pixels, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]
_RUN_S = 300
_PATIENCE_MS = 120_000  # software rendering next to other work


def test_01_runs_to_its_end_offline_and_its_view_follows_the_slider(open_notebook):
    with open_notebook("01_unet3d_brats.ipynb") as page:
        page.run_all(_RUN_S)
        assert page.page.get_by_text("Run folder:").count() == 1
        view = page.page.locator(".cookbook-view")
        view.scroll_into_view_if_needed()
        canvas = view.locator("canvas").first
        before = wait_until_drawn(page, canvas)
        page.shot("01_view", view)
        # Not just any picture: the brain in grey and masks in colour.
        assert (before.max(axis=2) > 40).mean() > 0.1
        assert (before.max(axis=2).astype(int) - before.min(axis=2) > 60).mean() > 0.002
        handle = view.locator(".cookbook-controls .noUi-handle").first
        handle.focus()
        for _ in range(12):
            handle.press("ArrowRight")
        page.wait(3)
        after = wait_until_drawn(page, canvas)
        page.shot("01_view_moved", view)
        assert (np.abs(after.astype(int) - before).max(axis=2) > 30).mean() > 0.02
        for mode in ("truth", "errors"):
            view.get_by_role("button", name=mode, exact=True).click()
            page.wait(2)
            now = wait_until_drawn(page, canvas)
            page.shot(f"01_view_{mode}", view)
            assert not np.array_equal(now, after)
        view.get_by_role("button", name="slices", exact=True).click()
        page.wait(2)
        page.shot("01_slices", view)
        assert all(pixels(picture).std() > 10 for picture in view.locator(".cookbook-slices img").all())
        assert page.watched.outbound(page.lab.origin) == []
        assert page.watched.errors == []


def sort_by_wt(page, desk) -> None:
    """Sorts the case table, the lowest WT first; a second click reverses the order."""
    header = desk.locator(".cookbook-cases th").filter(has_text="WT")
    header.click()
    rising = [float(text) for text in desk.locator(".cookbook-cases tbody td:nth-child(2)").all_inner_texts()]
    header.click()
    page.wait(1)
    falling = [float(text) for text in desk.locator(".cookbook-cases tbody td:nth-child(2)").all_inner_texts()]
    assert len(rising) > 1 and rising == sorted(rising) and falling == rising[::-1]
    header.click()
    page.wait(1)


def wait_for_another_case(page, before: str) -> None:
    """Waits until a case after `before` is open that the reader has not reviewed."""
    page.page.wait_for_function(
        "before => ![before, undefined].includes(document.querySelector('.cookbook-cases tr.chosen')?.dataset.case)",
        arg=before,
        timeout=_PATIENCE_MS,
    )
    chosen = page.page.locator(".cookbook-cases tr.chosen").first.get_attribute("data-case")
    page.page.get_by_text(f"{chosen}: not reviewed by you yet").wait_for(timeout=_PATIENCE_MS)


def accept_next_by_key(page, before: str) -> None:
    """Moves to the next unreviewed case after `before` and accepts it, both by key."""
    page.page.keyboard.press("n")
    wait_for_another_case(page, before)
    page.page.keyboard.press("a")
    page.page.get_by_text("accept by reader one").wait_for(timeout=_PATIENCE_MS)
    assert page.page.locator(".jp-CodeCell").count() == 8  # JupyterLab's own "a" would have inserted a cell


def test_07_keeps_a_rejection_across_a_reload(open_notebook, lab):
    if not list(lab.outputs.glob("unet3d_brats/*/metrics.json")):
        pytest.skip("needs the run that the test of notebook 01 makes, or COOKBOOK_BROWSER_OUTPUTS")
    with open_notebook("07_visual_qa.ipynb") as page:
        page.run_all(_RUN_S)
        desk = page.page.locator(".cookbook-desk")
        desk.scroll_into_view_if_needed()
        page.shot("07_table", desk)
        sort_by_wt(page, desk)
        lowest = desk.locator(".cookbook-cases tbody tr").first
        worst = lowest.get_attribute("data-case")
        lowest.click()
        wait_until_drawn(page, desk.locator("canvas").first)
        desk.locator(".cookbook-note textarea").fill("the left rim is missing")
        desk.get_by_role("button", name="reject").click()
        page.page.get_by_text(f"{worst}: reject by reader one").wait_for(timeout=_PATIENCE_MS)
        page.shot("07_rejected", desk)
        wait_for_another_case(page, worst)  # the desk moves on by itself
        lowest.click()  # gives the desk the keyboard focus
        page.page.get_by_text(f"{worst}: your verdict is reject").wait_for(timeout=_PATIENCE_MS)
        accept_next_by_key(page, worst)
        assert page.watched.outbound(page.lab.origin) == []
        assert page.watched.errors == []
    with open_notebook("07_visual_qa.ipynb") as page:  # a new browser: nothing of the page remains
        page.run_all(_RUN_S)
        desk = page.page.locator(".cookbook-desk")
        row = desk.locator(f".cookbook-cases tr[data-case='{worst}']")
        assert row.locator("td.reject").count() == 1
        row.click()
        page.page.get_by_text(f"{worst}: your verdict is reject").wait_for(timeout=_PATIENCE_MS)
        assert desk.locator(".cookbook-note textarea").input_value() == "the left rim is missing"
        page.shot("07_reloaded", desk)
    with open(page.lab.outputs / "qa.csv", encoding="utf-8-sig", newline="") as stream:
        verdicts = {row["case"]: (row["who"], row["verdict"], row["note"]) for row in csv.DictReader(stream)}
    assert verdicts[worst] == ("reader one", "reject", "the left rim is missing")
