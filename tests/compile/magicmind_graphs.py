"""Small graphs to build for MagicMind in tests, and a short form of the build."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from helpers.compile.magicmind import CalibrationFile, build_magicmind
from helpers.compile.magicmind_config import assemble_builder_config
from helpers.compile.torchscript import compile_torchscript
from helpers.graph.export import export_network
from helpers.graph.read import run_reference
from helpers.graph.spec import GraphSpec
from helpers.params.targets import load_target

WINDOW = (2, 12, 10)


class Slices(torch.nn.Module):
    """Two convolutions and a transposed one: (N, 2, Y, X) to (N, 3, Y, X)."""

    def __init__(self):
        super().__init__()
        self.down = torch.nn.Conv2d(2, 8, 3, stride=2, padding=1)
        self.up = torch.nn.ConvTranspose2d(8, 3, 2, stride=2)

    def forward(self, x):
        return self.up(torch.relu(self.down(x)))


class ClassMap(Slices):
    """The same network, which returns the class of each pixel as int64 (N, Y, X)."""

    def forward(self, x):
        return super().forward(x).argmax(dim=1)


def make_graph(folder: Path, batch_size: int = 1, network: type[torch.nn.Module] = Slices) -> tuple[Path, GraphSpec]:
    """An ONNX file with fixed weights and a dynamic batch, and its spec."""
    torch.manual_seed(7)
    spec = GraphSpec("image", "scores", WINDOW, batch_size=batch_size)
    export_network(network().eval(), spec, folder / "model.onnx")
    return folder / "model.onnx", spec


def make_torchscript(folder: Path, spec: GraphSpec) -> Path:
    """The same network as TorchScript."""
    torch.manual_seed(7)
    return compile_torchscript(Slices().eval(), spec, folder / "traced")


def build(
    graph: Path, spec: GraphSpec, double, *, precision="f32", shape_mutable=True, given=None, **options
) -> Path:
    """Builds with the target's configuration in the interpreter of the double."""
    config = assemble_builder_config(
        load_target("mlu370").builder_config.given(),
        given or {},
        spec,
        precision=precision,
        shape_mutable=shape_mutable,
        output_rank=options.pop("output_rank", 4),
    )
    options.setdefault("output_shape", (None, 3, *WINDOW[1:]))
    options.setdefault("python", double.python)
    return build_magicmind(graph, graph.with_name("built"), spec, config, **options)


def calibration(folder: Path, count: int = 5) -> CalibrationFile:
    """Random calibration windows in a file."""
    np.savez(folder / "windows.npz", windows=sample(count))
    return CalibrationFile(folder / "windows.npz")


def sample(batch: int, seed: int = 0) -> np.ndarray:
    """(N, 2, Y, X) float32."""
    return np.random.default_rng(seed).standard_normal((batch, *WINDOW), dtype=np.float32)


def error_of(answer: np.ndarray, graph: Path, x: np.ndarray) -> float:
    """Maximum difference from ONNX Runtime as a fraction of the range."""
    expected = run_reference(graph, {"image": x})["scores"]
    assert answer.shape == expected.shape
    return float(np.abs(answer - expected).max() / np.ptp(expected))
