"""Shapes of a graph's input and output as a compiled model will have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.errors import GraphError
from helpers.graph.spec import GraphSpec
from helpers.interop.ports import ModelPorts

if TYPE_CHECKING:
    import onnx

_INTEGERS = {2, 3, 4, 5, 6, 7, 12, 13}  # onnx.TensorProto's unsigned and signed integer types


def ports_of_graph(model: onnx.ModelProto, spec: GraphSpec, batch_size: int) -> ModelPorts:
    """The ports of a graph's one output, compiled for one batch size.

    Raises:
        GraphError: an axis of the output other than the batch is open, so that no file of it could be read.
    """
    output = next(value for value in model.graph.output if value.name == spec.output_name)
    axes = [axis.dim_value or None for axis in output.type.tensor_type.shape.dim]
    del axes[spec.output_batch_axis]
    if None in axes:
        raise GraphError("the output's shape is open", received=axes, expected="a number for each axis but the batch")
    return ModelPorts(
        spec.input_name,
        spec.output_name,
        spec.input_shape,
        tuple(axes),
        output_is_integer=output.type.tensor_type.elem_type in _INTEGERS,
        batch_size=batch_size,
        output_batch_axis=spec.output_batch_axis,
    )
