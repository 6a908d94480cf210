"""What a recipe's graph has to look like: names, shapes, opset, batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from helpers.params.model import RunParams


@dataclass(frozen=True)
class GraphSpec:
    """The contract of an exported graph.

    Args:
        input_name: name of the one input.
        output_name: name of the one output; further outputs of the network are cut at export.
        input_shape: shape of one sample, (C, Z, Y, X) or (C, H, W).
        opset: ONNX operator set, read back from the file after export.
        dynamic_batch: whether the batch axis stays open.
        batch_size: samples of a static graph.
        output_batch_axis: axis of the output that counts samples (mmsegmentation's class maps have it on 1).
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
        """The spec with a run's opset and batch."""
        batch = (params.dynamic_batch, params.batch_size)
        return cls(input_name, output_name, input_shape, params.opset, *batch, output_batch_axis)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> GraphSpec:
        """The spec from its fields as JSON, which has no tuples."""
        return cls(**{**content, "input_shape": tuple(content["input_shape"])})

    @property
    def input_format(self) -> str:
        """The layout's name as compilers call it."""
        return {3: "NCHW", 4: "NCDHW"}.get(len(self.input_shape), "ND")

    def batch_shape(self, batch_size: int) -> tuple[int, ...]:
        """Shape of a batch of samples."""
        return (batch_size, *self.input_shape)

    def batches_to_prove(self) -> tuple[int, ...]:
        """Batch sizes that an export is compared with the network at."""
        return (1, 3) if self.dynamic_batch else (self.batch_size,)
