"""The specification of a recipe's graph: names, shapes, opset and batch size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from helpers.params.model import RunParams


@dataclass(frozen=True)
class GraphSpec:
    """The interface that an exported graph must have.

    Attributes:
        input_name: name of the only input.
        output_name: name of the only output; further outputs of the network are dropped at export.
        input_shape: shape of one sample, (C, Z, Y, X) or (C, H, W).
        opset: ONNX operator set.
        dynamic_batch: whether the batch axis is dynamic.
        batch_size: batch size of a graph whose batch axis is static.
        output_batch_axis: batch axis of the output; 1 in mmsegmentation's class maps.
    """

    input_name: str
    output_name: str
    input_shape: tuple[int, ...]
    opset: int = 11
    dynamic_batch: bool = True
    batch_size: int = 1
    output_batch_axis: int = 0

    @classmethod
    def of_run(
        cls,
        params: RunParams,
        input_name: str,
        output_name: str,
        input_shape: tuple[int, ...],
        output_batch_axis: int = 0,
    ) -> GraphSpec:
        """Creates a spec with the opset and batch size of a run."""
        batch = (params.dynamic_batch, params.batch_size)
        return cls(input_name, output_name, input_shape, params.opset, *batch, output_batch_axis)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> GraphSpec:
        """Creates a spec from JSON, which has lists instead of tuples."""
        return cls(**{**content, "input_shape": tuple(content["input_shape"])})

    @property
    def input_format(self) -> str:
        """The name of the input's layout in compiler options.

        >>> GraphSpec("image", "scores", (1, 64, 64, 64)).input_format
        'NCDHW'
        """
        return {3: "NCHW", 4: "NCDHW"}.get(len(self.input_shape), "ND")

    def batch_shape(self, batch_size: int) -> tuple[int, ...]:
        """Shape of a batch of samples."""
        return (batch_size, *self.input_shape)

    def batches_to_prove(self) -> tuple[int, ...]:
        """Batch sizes at which the graph is compared with the network: two samples show that the batch is free."""
        return (1, 2) if self.dynamic_batch else (self.batch_size,)
