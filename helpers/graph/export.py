"""Exports a PyTorch network to ONNX and proves that the file is what was asked for."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx

from helpers.errors import GraphError
from helpers.graph.read import input_shape_of, load_graph, opset_of
from helpers.graph.spec import GraphSpec


def export_network(network, spec: GraphSpec, path: Path) -> onnx.ModelProto:
    """Exports by tracing (`dynamo=False`), the only route of torch 2.13 that writes opset 11.

    The other exporter returns success and writes opset 18 when 11 is asked, so the opset is read back
    from the file.

    Args:
        network: a torch module; it is put in eval mode, its first output is kept.
        spec: names, shapes and opset of the graph.
        path: the file to write.

    Returns:
        The model as read back from the file.

    Raises:
        GraphError: the file has another opset, other names, another input shape or more outputs, or fails ONNX's
            checker.
    """
    import torch

    sample = torch.zeros(spec.batch_shape(1 if spec.dynamic_batch else spec.batch_size))
    axes = {spec.input_name: {0: "batch"}, spec.output_name: {spec.output_batch_axis: "batch"}}
    with warnings.catch_warnings(), torch.no_grad():
        # The tracer announces its own retirement and warns that InstanceNorm "is set to train": both harmless.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            first_output_only(network.eval()),
            (sample,),
            str(path),
            dynamo=False,
            opset_version=spec.opset,
            input_names=[spec.input_name],
            output_names=[spec.output_name],
            dynamic_axes=axes if spec.dynamic_batch else None,
        )
    model = load_graph(path)
    check_contract(model, spec)
    return model


def check_contract(model: onnx.ModelProto, spec: GraphSpec) -> None:
    """Raises a GraphError when a graph departs from its spec."""
    opset = opset_of(model)
    if opset != spec.opset:
        raise GraphError("the graph has another opset", received=opset, expected=spec.opset)
    for kind, values, expected in (
        ("input", model.graph.input, spec.input_name),
        ("output", model.graph.output, spec.output_name),
    ):
        names = [value.name for value in values]
        if names != [expected]:
            raise GraphError(f"the graph's {kind} is not the recipe's", received=names, expected=[expected])
    shape = input_shape_of(model)
    expected_shape = (None if spec.dynamic_batch else spec.batch_size, *spec.input_shape)
    if shape != expected_shape:
        raise GraphError("the graph's input has another shape", received=shape, expected=expected_shape)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GraphError("ONNX's checker refuses the graph", received=str(error).strip()) from None


def first_output_only(network):
    """The network in eval mode, with its first output alone."""
    import torch

    class FirstOutput(torch.nn.Module):
        """Deep-supervision networks return several outputs; only the first is deployed."""

        def __init__(self, inner: torch.nn.Module):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            outputs = self.inner(x)
            return outputs[0] if isinstance(outputs, (tuple, list)) else outputs

    return FirstOutput(network).eval()
