"""Official-size graphs of every recipe are accepted by the strict double of ATC and compute the same outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from helpers import recipes
from helpers.compile.atc import atc_command
from helpers.graph.export import export_network
from helpers.graph.lint import lint
from helpers.graph.read import load_graph, open_reference, opset_of
from helpers.graph.simplify import run_onnxsim
from helpers.graph.surgery import rewrite_and_prove, rewrite_named
from helpers.params import load_target

CASES = [
    ("unet3d_brats", None, {}),
    ("unet_carvana", None, {}),
    ("unet_carvana", "bilinear", {}),
    ("fcn_voc2012", None, {"graph_output": "classes"}),
    ("fcn_voc2012", None, {"graph_output": "logits"}),
]

pytestmark = [pytest.mark.slow, pytest.mark.official]


@pytest.mark.parametrize(("name", "variant", "options"), CASES)
def test_an_official_graph_is_accepted_and_computes_the_same_outputs(name, variant, options, tmp_path, run_atc):
    recipe = recipes.load(name)
    torch.manual_seed(0)
    params = recipe.prepare_params(**options)
    spec = recipe.model.graph_spec(params)
    network = recipe.model.wrap_for_export(recipe.network(variant), params).eval()
    export_network(network, spec, tmp_path / "exported.onnx")
    done = run_onnxsim(
        tmp_path / "exported.onnx", tmp_path / "simple.onnx", {spec.input_name: spec.batch_shape(1)}, timeout_s=300
    )
    assert done.simplified, done.reason
    rewrites = [rewrite_named(rewrite) for rewrite in recipe.rewrites]
    model, _ = rewrite_and_prove(load_graph(tmp_path / "simple.onnx"), rewrites, spec)
    assert opset_of(model) == 11
    onnx.save(model, str(tmp_path / "model.onnx"))

    session = open_reference(tmp_path / "model.onnx", optimise=True)
    for batch in (1, 4):
        sample = np.random.default_rng(batch).standard_normal(spec.batch_shape(batch), dtype=np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(sample)).numpy()
        actual = session.run(None, {spec.input_name: sample})[0]
        if expected.dtype == np.int64:
            # Equal scores can be decided either way, but only in a handful of pixels.
            assert np.mean(actual != expected) < 1e-4
        else:
            assert np.abs(actual - expected).max() <= 1e-4 * np.ptp(expected)
        command = atc_command(Path("model.onnx"), Path(f"bs{batch}"), spec, "Ascend310P3", [batch])
        answer = run_atc(command, tmp_path)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert (tmp_path / f"bs{batch}.om").read_bytes()[:4] == b"IMOD"


def test_ascend310_rejects_the_graph_before_surgery_and_accepts_it_after(tmp_path, run_atc):
    recipe = recipes.load("unet3d_brats")
    spec = recipe.model.graph_spec(recipe.prepare_params())
    export_network(recipe.network(), spec, tmp_path / "before.onnx")
    objections = lint(load_graph(tmp_path / "before.onnx"), load_target("ascend310"))
    assert [(item.op, item.rewrite) for item in objections] == [("Resize", "resize_5d_to_4d")] * 6
    model, report = rewrite_and_prove(load_graph(tmp_path / "before.onnx"), [rewrite_named("resize_5d_to_4d")], spec)
    onnx.save(model, str(tmp_path / "after.onnx"))
    assert len(report.rows) == 6 and not lint(model, load_target("ascend310"))
    sample = np.random.default_rng(0).standard_normal(spec.batch_shape(1), dtype=np.float32)
    logits = [open_reference(tmp_path / f"{n}.onnx").run(None, {"image": sample})[0] for n in ("before", "after")]
    assert np.abs(logits[0] - logits[1]).max() <= 1e-5
    for name, accepted in (("before", False), ("after", True)):
        answer = run_atc(atc_command(Path(f"{name}.onnx"), Path(name), spec, "Ascend310"), tmp_path)
        assert (answer.returncode == 0) is accepted, answer.stdout + answer.stderr
