"""Exports a PyTorch network to ONNX and checks that the file matches its specification."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from helpers.errors import GraphError
from helpers.graph.read import check_graph, input_shape_of, load_graph, opset_of
from helpers.graph.spec import GraphSpec
from helpers.graph.tracing import trace_to_onnx

if TYPE_CHECKING:
    import torch


def export_network(network: torch.nn.Module, spec: GraphSpec, path: Path) -> onnx.ModelProto:
    """As `trace_network`, for the graph alone."""
    sample = np.zeros(spec.batch_shape(1 if spec.dynamic_batch else spec.batch_size), np.float32)
    return trace_network(network, spec, path, sample)[0]


def trace_network(
    network: torch.nn.Module, spec: GraphSpec, path: Path, sample: np.ndarray
) -> tuple[onnx.ModelProto, np.ndarray]:
    """Exports a network by tracing, and reads the file back.

    PyTorch's other exporter writes opset 18 when asked for 11, without an error; so the opset is read back too.

    Args:
        network: a torch module; it is set to eval mode, and only its first output is exported.
        spec: names, shapes and opset of the graph.
        path: the file to write.
        sample: the batch (N, C, ...) float32 to trace with; the graph does not depend on its values.

    Returns:
        The model as read back from the file, and the network's output for the sample: tracing runs the network.

    Raises:
        GraphError: torch cannot export the network; opset, names, input shape or number of outputs differ from the
            spec; or ONNX's checker fails.
    """
    import torch

    outputs: list[torch.Tensor] = []
    deployed = first_output_only(network.eval())
    deployed.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    axes = {spec.input_name: {0: "batch"}, spec.output_name: {spec.output_batch_axis: "batch"}}
    trace_to_onnx(
        deployed,
        torch.from_numpy(sample),
        path,
        opset=spec.opset,
        input_name=spec.input_name,
        output_names=[spec.output_name],
        dynamic_axes=axes if spec.dynamic_batch else None,
    )
    model = load_graph(path)
    check_contract(model, spec)
    return model, outputs[0].detach().numpy()


def check_contract(model: onnx.ModelProto, spec: GraphSpec) -> None:
    """Raises a GraphError if a graph does not match its spec."""
    opset = opset_of(model)
    if opset != spec.opset:
        raise GraphError("the graph has an unexpected opset", received=opset, expected=spec.opset)
    for kind, values, expected in (
        ("input", model.graph.input, spec.input_name),
        ("output", model.graph.output, spec.output_name),
    ):
        names = [value.name for value in values]
        if names != [expected]:
            raise GraphError(f"the graph has unexpected {kind}s", received=names, expected=[expected])
    shape = input_shape_of(model)
    expected_shape = (None if spec.dynamic_batch else spec.batch_size, *spec.input_shape)
    if shape != expected_shape:
        raise GraphError("the graph's input has an unexpected shape", received=shape, expected=expected_shape)
    check_graph(model)


def first_output_only(network: torch.nn.Module) -> torch.nn.Module:
    """Wraps a network in eval mode so that it returns only its first output."""
    import torch

    class FirstOutput(torch.nn.Module):
        """Networks with deep supervision return several outputs; only the first is deployed."""

        def __init__(self, inner: torch.nn.Module):
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            outputs = self.inner(x)
            return outputs[0] if isinstance(outputs, (tuple, list)) else outputs

    return FirstOutput(network).eval()
