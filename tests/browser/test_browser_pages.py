"""Pages outside JupyterLab: a run's report opened from the disk, and netron after a click."""

from __future__ import annotations

import json
from types import SimpleNamespace

import onnx
import pytest
from chromium import open_chromium
from onnx import TensorProto, helper

from helpers.qa.adjudication import read_adjudications
from helpers.qa.agreement import compare_readers
from helpers.qa.agreement_files import write_agreement
from helpers.qa.finished import FinishedRun
from helpers.qa.journal import Journal, read_verdicts
from helpers.recipes.base import LabelSet

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


def test_the_report_opens_from_the_disk_without_any_request(lab, chromium, tmp_path, shots):
    reports = sorted(lab.outputs.glob("unet3d_brats/*/report.html"))
    if not reports:
        pytest.skip("needs the run that the test of notebook 01 makes, or COOKBOOK_BROWSER_OUTPUTS")
    with open_chromium(chromium, tmp_path / "profile") as watched:
        watched.page.goto(reports[-1].as_uri())
        watched.page.wait_for_load_state("networkidle")
        watched.page.screenshot(path=str(shots / "report.png"), full_page=True)
        assert [url for url in watched.requests if not url.startswith("data:")] == [reports[-1].as_uri()]
        assert watched.errors == []
        pictures = watched.page.locator("img")
        assert pictures.count() and all(picture.evaluate("image => image.naturalWidth") for picture in pictures.all())
        assert watched.page.locator("table").count()
        assert watched.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert watched.page.pdf().startswith(b"%PDF")


def test_the_agreement_page_breaks_no_figure_or_header(chromium, tmp_path, shots):
    run = FinishedRun(
        SimpleNamespace(name="tiny"),
        None,
        tmp_path / "tiny" / "demo-0a1b2c3d",
        0.0,
        LabelSet(("background", "a")),
        (),
    )
    masks = {f"case_{number}": f"{number:064x}" for number in range(8)}
    for reader, verdicts in (("ann", "aaraaura"), ("bob", "aarauura"), ("carl", "aaraarra")):
        journal = Journal(tmp_path, reader)
        for (case, mask), verdict in zip(masks.items(), verdicts, strict=True):
            whole = {"a": "accept", "r": "reject", "u": "unsure"}[verdict]
            journal.append("tiny", run.hash, case, mask, whole, "")
    agreement = compare_readers(run, masks, read_verdicts(tmp_path), read_adjudications(tmp_path))
    (page,) = [path for path in write_agreement(agreement, tmp_path / "qa", "Tiny") if path.suffix == ".html"]
    with open_chromium(chromium, tmp_path / "profile") as watched:
        watched.page.goto(page.as_uri())
        watched.page.screenshot(path=str(shots / "agreement.png"), full_page=True)
        figures = watched.page.locator("#agreement .full td b")
        assert figures.count() == 4
        assert {figure.evaluate("text => text.getClientRects().length") for figure in figures.all()} == {1}
        heights = {head.evaluate("cell => cell.clientHeight") for head in watched.page.locator(".full th").all()}
        assert max(heights) < 40  # one line
        assert watched.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert watched.errors == []


def test_netron_opens_after_a_click_and_its_requests_are_listed(chromium, tmp_path, shots):
    """Its drawing is not checked: a build stops opening files 180 days after its date, and asks for consent."""
    import netron

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "g", value[:1], value[1:])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    from helpers.view.netron_frame import offer_netron

    started = []
    real = netron.start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(netron, "start", lambda *a, **k: started.append(real(*a, **k)) or started[-1])
        patch.setattr("IPython.display.display", lambda *_: None)
        box = offer_netron(tmp_path / "m.onnx", True)
        assert started == []  # nothing is served before the click
        box.children[0].click()
    origin = "http://{}:{}".format(*started[-1])
    try:
        with open_chromium(chromium, tmp_path / "profile") as watched:
            watched.page.goto(origin)
            watched.page.wait_for_timeout(6000)
            watched.page.screenshot(path=str(shots / "netron.png"))
            attempts = sorted(set(watched.outbound(origin)))
    finally:
        netron.stop(started[-1])
    (shots / "netron_attempts.json").write_text(json.dumps(attempts, indent=1), encoding="utf-8")
    assert any(url.startswith(origin) for url in watched.requests)
