"""Runs a graph in ONNX Runtime on the CPU: the portable reference for every proof."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx


def open_reference(graph: onnx.ModelProto | Path, *, optimise: bool = False):
    """An ONNX Runtime session on the CPU.

    Without optimisation the nodes run as written, so that two graphs differ only by their own arithmetic.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = graph.SerializeToString() if isinstance(graph, onnx.ModelProto) else str(graph)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run_reference(graph: onnx.ModelProto | Path, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs by name for one set of feeds."""
    session = open_reference(graph)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))
