"""The runtime's cache opens the model that it was made of, or none."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from helpers.compile.openvino import compile_openvino
from helpers.devices import open_device
from helpers.devices.compile_cache import compile_cache
from helpers.graph.export import export_network
from helpers.graph.spec import GraphSpec

SPEC = GraphSpec("image", "class", (1, 8, 8))


def compiled(folder, weight: float):
    network = nn.Conv2d(1, 2, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(weight)
    export_network(network, SPEC, folder / "net.onnx")
    return compile_openvino(folder / "net.onnx", folder / "net")


def answer(root, path, identity) -> float:
    with compile_cache(root, "openvino", {"model": identity}) as options:
        device = open_device(path, "cpu", precision="f32", **options)
    with device:
        return float(device.infer({"image": np.ones((1, 1, 8, 8), np.float32)})["class"][0, 0, 0, 0])


def test_the_second_opening_finds_the_first_ones_files(tmp_path):
    path, root = compiled(tmp_path, 2.0), tmp_path / "opened"
    assert answer(root, path, "a") == pytest.approx(2.0)
    (folder,) = root.iterdir()
    files = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert len(files) >= 2
    assert answer(root, path, "a") == pytest.approx(2.0)
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == files


def test_a_model_replaced_under_its_name_and_time_stamp_is_opened_itself(tmp_path):
    path, root = compiled(tmp_path, 2.0), tmp_path / "opened"
    assert answer(root, path, "a") == pytest.approx(2.0)
    assert answer(root, compiled(tmp_path, 3.0), "b") == pytest.approx(3.0)


def test_a_damaged_cache_is_made_again(tmp_path):
    path, root = compiled(tmp_path, 2.0), tmp_path / "opened"
    assert answer(root, path, "a") == pytest.approx(2.0)
    (folder,) = root.iterdir()
    blob = next(file for file in folder.iterdir() if file.suffix == ".blob")
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[::-1])
    assert answer(root, path, "a") == pytest.approx(2.0)
    (folder,) = root.iterdir()
    assert set(json.loads((folder / "seal.json").read_text(encoding="utf-8"))) == {
        f.name for f in folder.iterdir()
    } - {"seal.json"}


def test_other_runtimes_have_no_options(tmp_path):
    with compile_cache(tmp_path / "opened", "onnxruntime", {}) as options:
        assert options == {}
    assert not (tmp_path / "opened").exists()
