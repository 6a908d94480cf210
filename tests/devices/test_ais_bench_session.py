"""The session on ais_bench's Python interface, against its double on the double of pyACL, in another interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from helpers.devices import open_device
from helpers.errors import DeviceError
from helpers.params import load_target

DOUBLES = Path(__file__).parents[1] / "doubles"
SHAPE = (1, 6, 7, 8)


@pytest.fixture
def compiled(tmp_path, cann_doubles):
    """A small `.om` and its graph: `compiled(batch)`."""
    import torch

    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 2, 3, padding=1).eval()
    options = {"input_names": ["image"], "output_names": ["class"], "opset_version": 11, "dynamo": False}
    axes = {"image": {0: "n"}, "class": {0: "n"}}
    torch.onnx.export(network, (torch.zeros(1, *SHAPE),), str(tmp_path / "g.onnx"), dynamic_axes=axes, **options)

    def build(batch: str, *flags: str) -> Path:
        shape = ",".join([batch, *map(str, SHAPE)])
        line = f"atc --framework=5 --model=g.onnx --output=g --input_format={'ND' if flags else 'NCDHW'}"
        cann_doubles.run(
            " ".join([line, f"--input_shape=image:{shape}", "--soc_version=Ascend310P3", *flags]), tmp_path
        )
        return tmp_path / "g.om"

    return build


@pytest.fixture
def target(tmp_path, cann_doubles):
    """The target, its module in another interpreter."""
    python = tmp_path / "python-with-ais-bench"
    path = f"{DOUBLES / 'python'}:{DOUBLES / 'cann' / 'python'}"
    python.write_text(
        f'#!/bin/sh\nexport PYTHONPATH="{path}" CANN_DOUBLE_REPORT="{cann_doubles.reports}/%p.json"\n'
        f'exec "{sys.executable}" "$@"\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    return load_target("ais_bench").model_copy(update={"python": str(python)})


def test_outputs_are_those_of_the_graph_and_everything_is_freed(compiled, target, cann_doubles, tmp_path):
    session = onnxruntime.InferenceSession(str(tmp_path / compiled("3").with_suffix(".onnx").name))
    sample = np.random.default_rng(0).standard_normal((3, *SHAPE), dtype=np.float32)
    expected = session.run(None, {"image": sample})[0]
    with open_device(tmp_path / "g.om", target, precision="f16") as device:
        assert [(spec.name, spec.shape) for spec in device.outputs] == [("class", (3, 2, 6, 7, 8))]
        assert device.batches == (3,) and device.simulated is True
        assert np.array_equal(device.infer({"image": sample})["class"], expected)
        assert np.array_equal(device.infer({"image": sample[:2]})["class"], expected[:2])
    cann_doubles.assert_clean()


def test_gears_are_refused_in_one_line(compiled, target):
    om = compiled("-1", "--dynamic_dims=1;2")
    with pytest.raises(DeviceError, match=r"dymBatch|static batch"):
        open_device(om, target)


def test_without_the_package_the_error_names_what_to_install(compiled):
    with pytest.raises(DeviceError, match=r"No module named 'ais_bench'.*not the package ais-bench-benchmark"):
        open_device(compiled("1"), "ais_bench")
