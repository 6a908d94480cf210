"""Complete runs in lower precision: calibrated, compiled, inside the tolerance, and scored."""

from __future__ import annotations

import json

import pytest

QUICK = {"simplify_timeout_s": 0.001}


@pytest.mark.parametrize(
    ("target", "precision"),
    [("cpu", "int8"), ("cpu", "f16_weights"), ("cpu", "bf16"), ("onnxruntime", "int8"), ("torch", "bf16")],
)
def test_every_precision_goes_through_every_stage(run_pipeline, tmp_path, target, precision):
    done = run_pipeline(tmp_path, target=target, precision=precision, cases="case_1", calibration_seeds=[11], **QUICK)
    assert json.loads(done.run.path("metrics.json").read_text(encoding="utf-8"))["mean"]["cube"] > 0.9
    device = done.made["parity"].values["device"]
    # It is not float32 that ran; the tiny network's two layers are the first and the last, which int8 keeps.
    assert device["largest"] > 1e-7 or (target, precision) == ("onnxruntime", "int8")
    assert ("calibration" in done.run.results) == (precision == "int8")


def test_other_calibration_cases_make_another_int8_model(run_pipeline, tmp_path):
    given = {"precision": "int8", "cases": "case_1", "until": "compile", **QUICK}
    first = run_pipeline(tmp_path, calibration_seeds=[11], **given)
    again = run_pipeline(tmp_path, calibration_seeds=[11], **given)
    other = run_pipeline(tmp_path, calibration_seeds=[12], **given)
    assert [done.made["compile"].status for done in (first, again, other)] == ["made", "reused", "made"]
