"""A damaged model is called damaged; the message does not ask for the runtime that reported it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.devices.open import RuntimeTarget, open_device
from helpers.errors import DeviceError
from helpers.params import load_target


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "net.onnx"
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3)).eval()
    torch.onnx.export(network, (torch.zeros(1, 1, 16, 16),), str(path), dynamo=False, opset_version=11)
    return path


@pytest.mark.parametrize("name", ["onnxruntime", "cpu"])
@pytest.mark.parametrize("kept", [10, 0.5, -5])
def test_a_truncated_model_is_called_damaged(whole, tmp_path, name, kept):
    import openvino

    target, path, content = load_target(name), tmp_path / "net.onnx", whole.read_bytes()
    if name == "cpu":
        openvino.save_model(openvino.convert_model(str(whole)), tmp_path / "net.xml")
        path, content = tmp_path / "net.xml", (tmp_path / "net.xml").read_bytes()
    path.write_bytes(content[: int(len(content) * kept) if 0 < kept < 1 else kept])
    fields = RuntimeTarget(target.name, target.runtime, target.device, target.needs or "the package")
    with pytest.raises(DeviceError, match="The file is damaged") as caught:
        open_device(path, fields, output_batch_axis=0)
    assert "Needed" not in caught.value.line()
