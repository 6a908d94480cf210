"""Shapes and types of a compiled model's input and output, which raw files do not carry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.errors import DeviceError

if TYPE_CHECKING:
    from helpers.graph.spec import GraphSpec

FLOAT_BYTES = 4
_DTYPES = {True: {8: "<i8", 4: "<i4", 1: "u1"}, False: {4: "<f4", 2: "<f2"}}


@dataclass(frozen=True)
class ModelPorts:
    """The input, and the output that is used, of a model compiled for one batch size.

    Args:
        input_name, output_name: of the tensors.
        input_shape: of one sample, (C, Z, Y, X) or (C, H, W), float32.
        output_shape: of one sample of the output, without its batch axis.
        output_is_integer: class indices instead of scores.
        batch_size: that the model was compiled for.
        output_batch_axis: axis of the output that counts samples.
        output_index: of the output, from 0, for a model that has several.
    """

    input_name: str
    output_name: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    output_is_integer: bool = False
    batch_size: int = 1
    output_batch_axis: int = 0
    output_index: int = 0

    def to_json(self) -> dict:
        """The ports as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping) -> ModelPorts:
        """The ports from the values of `to_json`; lists become tuples again."""
        values: dict[str, Any] = dict(content)
        return cls(**values | {name: tuple(value) for name, value in values.items() if isinstance(value, list)})

    @property
    def input_bytes(self) -> int:
        """Bytes of one input sample."""
        return FLOAT_BYTES * math.prod(self.input_shape)

    @property
    def output_bytes(self) -> int:
        """Bytes of one output sample at four bytes per value, as most compiled models return."""
        return FLOAT_BYTES * math.prod(self.output_shape)

    def read_output(self, raw: bytes, samples: int, source: str) -> np.ndarray:
        """The output of some samples from a file's bytes.

        The size determines the type: a compiler may have turned int64 into int32, or float32 into float16, so the
        graph's own type does not count.

        Args:
            raw: the file's content.
            samples: in it.
            source: the file's name, for messages.

        Raises:
            DeviceError: the size fits no type, so the file is truncated or from another model.
        """
        axis = self.output_batch_axis
        shape = (*self.output_shape[:axis], samples, *self.output_shape[axis:])
        count = math.prod(shape)
        dtype = _DTYPES[self.output_is_integer].get(len(raw) // count if len(raw) % count == 0 else 0)
        if dtype is None:
            sizes = " or ".join(f"{count * size:,}" for size in _DTYPES[self.output_is_integer])
            raise DeviceError(
                f"{source} is truncated or from another model",
                received=f"{len(raw):,} bytes",
                expected=f"{sizes} bytes for {shape}",
                remedy="Run the tool again, or check the output and the batch size that the model was compiled with.",
            )
        array = np.frombuffer(raw, dtype).reshape(shape)
        return array.astype(np.float32) if dtype == "<f2" else array


def ports_of_graph(path: Path, spec: GraphSpec, batch_size: int) -> ModelPorts:
    """The ports of an ONNX file with one output, compiled for one batch size.

    If the file does not state its output's shape (a resize to the size of the input leaves it open), the graph is run
    once on zeros.
    """
    # Imported here: the machine of the accelerator reads ports with numpy alone.
    from helpers.graph.read import load_graph, run_reference

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
