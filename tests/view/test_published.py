"""Every figure that the sources print is there, with a verdict; corrected ones and sums are recomputed.

`published_counts.json` holds the figures of each document as counted in it: every accuracy and speed that it prints,
restatements of the same figure left out.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from helpers.view import show_published
from helpers.view.published import VERDICTS, published_figures, recompute

COUNTS = json.loads(Path(__file__).with_name("published_counts.json").read_text(encoding="utf-8"))
EVERY = [
    figure
    for recipe in COUNTS
    for section in ("figures", "elsewhere")
    for figure in published_figures(recipe, section)
]


@pytest.mark.parametrize("recipe", COUNTS)
def test_the_figures_are_as_many_as_the_document_has(recipe):
    found = Counter(figure["kind"] for figure in published_figures(recipe))
    assert {kind: found[kind] for kind in ("accuracy", "speed")} == COUNTS[recipe]


def test_every_figure_has_conditions_and_a_verdict():
    assert all(figure["verdict"] in VERDICTS and figure["conditions"] for figure in EVERY)
    assert all(("corrected" in figure) == (figure["verdict"] == "wrong arithmetic") for figure in EVERY)


def test_corrected_figures_are_recomputed():
    corrected = [figure for figure in EVERY if "corrected" in figure]
    assert len(corrected) == 5
    for figure in corrected:
        assert figure["corrected"] == pytest.approx(recompute(figure, figure["rule"]), rel=1e-4)
        assert abs(figure["corrected"] / figure["value"] - 1) > 0.5


def _values(recipe: str, batch: int | None = None, **wanted: str) -> list[float]:
    return [
        figure["value"]
        for figure in published_figures(recipe)
        if batch in (None, figure.get("batch")) and all(figure.get(name) == text for name, text in wanted.items())
    ]


@pytest.mark.parametrize("batch", [1, 16])
def test_the_voc_table_agrees_with_its_means(batch):
    for prefix, mean in (("IoU of ", "mIoU"), ("accuracy of ", "mAcc")):
        rows = [f for f in published_figures("fcn_voc2012") if f["name"].startswith(prefix) and f["batch"] == batch]
        assert len(rows) == 21
        assert np.mean([row["value"] for row in rows]) == pytest.approx(
            _values("fcn_voc2012", batch, name=mean)[0], abs=0.01
        )


@pytest.mark.parametrize("batch", [1, 16])
def test_sound_speeds_of_the_benchmark_tool_agree(batch):
    [e2e], [whole] = (
        _values("fcn_voc2012", batch, name=name) for name in ("e2e throughput", "latency of all 1449 images")
    )
    assert e2e == pytest.approx(1449e3 / whole, rel=1e-4)
    [chip], [card] = (
        _values("fcn_voc2012", batch, name=name) for name in ("interface throughput", "throughput of a card")
    )
    assert card == pytest.approx(4 * chip, rel=1e-6)
    [rate], [latency] = (
        _values("fcn_voc2012", batch, name=name)
        for name in ("pure inference throughput", "pure inference latency of a sample")
    )
    assert rate == pytest.approx(1e3 / latency, rel=1e-3)


def test_complements_of_the_heart_metrics_agree():
    for where in ("infer_cpp", "infer_python"):
        rows = published_figures("nnunet_heart")
        found = {row["name"]: row["value"] for row in rows if row["conditions"].startswith(f"{where}, f32")}
        assert len(found) == 13
        for one, other in (
            ("Precision", "False Discovery Rate"),
            ("Recall", "False Negative Rate"),
            ("True Negative Rate", "False Positive Rate"),
            ("Negative Predictive Value", "False Omission Rate"),
        ):
            assert found[one] + found[other] == pytest.approx(1)


def test_a_runs_own_scores_are_shown_with_their_cases(tmp_path):
    folder = tmp_path / "unet3d_brats" / "demo-0"
    folder.mkdir(parents=True)
    params = {"recipe": "unet3d_brats", "data_root": "demo", "target": "cpu", "precision": "f32"}
    record = {"params": params, "stages": {}, "environment": {}, "status": "passed"}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    content = {"cases": {"a": {"WT": 0.5}, "b": {"WT": 0.7}}, "mean": {"WT": 0.6, "ET": None}}
    (folder / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    shown = show_published("unet3d_brats", folder)
    row = next(line for line in repr(shown).splitlines() if line.startswith("WT"))
    assert row.split() == ["WT", "0.6000", "2", "demo", "cases,", "drawn", "cpu", "f32"]
    assert "0.6000" in shown._repr_html_() and "<details>" in shown._repr_html_()
    assert "0.6000" not in repr(show_published("unet3d_brats"))
