"""Official-size graphs of the nnU-Net family: one output, opset 11, accepted by the double of ATC, same outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import recipes
from helpers.compile.atc import atc_command
from helpers.graph.export import export_network
from helpers.graph.read import run_reference
from helpers.graph.spec import GraphSpec

pytestmark = [pytest.mark.slow, pytest.mark.official]

# recipe, variant, official window, a smaller one for the comparison
CASES = [
    ("unetpp3d_liver", None, (128, 128, 128), (64, 64, 64)),
    ("nnunet_heart", None, (320, 256), (128, 128)),
    ("nnunet_heart", "3d", (80, 192, 160), (32, 64, 64)),
]


@pytest.mark.parametrize(("name", "variant", "window", "smaller"), CASES)
def test_an_official_graph_is_accepted_and_computes_the_same_outputs(
    name, variant, window, smaller, tmp_path, run_atc
):
    torch.manual_seed(0)
    network = recipes.load(name).network(variant)
    spec = GraphSpec("image", "class", (1, *window), dynamic_batch=False)
    model = export_network(network, spec, tmp_path / "model.onnx")
    assert [output.name for output in model.graph.output] == ["class"]
    command = atc_command(Path("model.onnx"), Path("bs1"), spec, "Ascend310P3")
    answer = run_atc(command, tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr

    spec = GraphSpec("image", "class", (1, *smaller))
    export_network(network, spec, tmp_path / "smaller.onnx")
    sample = np.random.default_rng(0).standard_normal(spec.batch_shape(1), dtype=np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(sample)).numpy()
    actual = run_reference(tmp_path / "smaller.onnx", {"image": sample})["class"]
    assert np.abs(actual - expected).max() <= 1e-4 * np.ptp(expected)
