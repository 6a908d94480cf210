"""Shapes of a graph's input and output as a compiled model will have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.graph.read import load_graph
from helpers.graph.reference import run_reference
from helpers.graph.spec import GraphSpec
from helpers.interop.ports import ModelPorts


def ports_of_graph(path: Path, spec: GraphSpec, batch_size: int) -> ModelPorts:
    """The ports of an ONNX file's one output, compiled for one batch size.

    A file need not say its output's shape (a resize to the size of the input leaves it open); then the graph is run
    once on zeros.
    """
    output = next(value for value in load_graph(path).graph.output if value.name == spec.output_name)
    axes = [axis.dim_value or None for axis in output.type.tensor_type.shape.dim]
    dtype = _dtype_of(output.type.tensor_type.elem_type)
    if len(axes) <= spec.output_batch_axis or None in _without(axes, spec.output_batch_axis):
        batch = 1 if spec.dynamic_batch else spec.batch_size
        zeros = {spec.input_name: np.zeros(spec.batch_shape(batch), np.float32)}
        axes = list(run_reference(path, zeros)[spec.output_name].shape)
    return ModelPorts(
        spec.input_name,
        spec.output_name,
        spec.input_shape,
        _without(axes, spec.output_batch_axis),
        output_is_integer=np.issubdtype(dtype, np.integer),
        batch_size=batch_size,
        output_batch_axis=spec.output_batch_axis,
    )


def _dtype_of(elem_type: int) -> np.dtype:
    import onnx

    return onnx.helper.tensor_dtype_to_np_dtype(elem_type)


def _without(axes: list, axis: int) -> tuple:
    return tuple(axes[:axis] + axes[axis + 1 :])
