"""What each node of a graph has to do: its multiply-accumulates, the values it reads and writes, its resolution."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import onnx

from helpers.graph.inspect import count_macs
from helpers.graph.read import constants_of, tensor_shapes


@dataclass(frozen=True)
class NodeWork:
    """The work of one node for a batch of one.

    Attributes:
        node, op: name and op; a node without a name has that of its first output.
        level: spatial size of its output, such as (64, 64, 64); a node that leaves the grid (a mean over an axis, a
            reshape) has the level of what it reads. Empty if unknown.
        macs: multiply-accumulates; 0 if the node is no layer or its shapes are unknown.
    """

    node: str
    op: str
    level: tuple[int, ...]
    macs: int


class GraphWork:
    """The work of every node of a graph, and of nodes that a runtime fuses into one.

    Args:
        model: the graph.
    """

    def __init__(self, model: onnx.ModelProto):
        self._shapes, self._constants = tensor_shapes(model), set(constants_of(model))
        self._nodes = {_name(node): node for node in model.graph.node if node.output[0] not in self._constants}
        self.producers = {tensor: name for name, node in self._nodes.items() for tensor in node.output}
        self._readers: dict[str, set[str]] = {}
        for name, node in self._nodes.items():
            for tensor in node.input:
                self._readers.setdefault(tensor, set()).add(name)
        self._outputs = {value.name for value in model.graph.output}
        self._rank = max((len(self._shapes.get(value.name) or ()) for value in model.graph.input), default=0)
        self._levels: dict[str, tuple[int, ...]] = {}
        self.nodes = {name: self._work(name, node) for name, node in self._nodes.items()}

    def covered(self, outputs: Iterable[str], inputs: Collection[str]) -> tuple[str, ...]:
        """The nodes between these tensors: what a fused node that reads `inputs` and writes `outputs` computes."""
        found: dict[str, None] = {}
        ahead = [self.producers[tensor] for tensor in outputs if tensor in self.producers]
        while ahead:
            name = ahead.pop()
            if name in found:
                continue
            found[name] = None
            inner = [tensor for tensor in self._nodes[name].input if tensor not in inputs]
            ahead += [self.producers[tensor] for tensor in inner if tensor in self.producers]
        return tuple(name for name in self.nodes if name in found)

    def values_moved(self, names: Collection[str], batch: int = 1) -> int:
        """Values that a kernel reads from memory and writes to it if it computes these nodes and nothing in between.

        Weights count once, activations once per sample.
        """
        members, read, written = set(names), set(), set()
        for name in members:
            node = self._nodes[name]
            read |= {tensor for tensor in node.input if tensor and self.producers.get(tensor) not in members}
            written |= {
                tensor
                for tensor in node.output
                if tensor in self._outputs or self._readers.get(tensor, set()) - members
            }
        return sum(self._values(tensor, batch) for tensor in read | written)

    def _values(self, tensor: str, batch: int) -> int:
        shape = self._shapes.get(tensor) or ()
        if tensor in self._constants or not shape:
            return math.prod(axis or 1 for axis in shape)
        return batch * math.prod(axis or 1 for axis in shape[1:])

    def _work(self, name: str, node: onnx.NodeProto) -> NodeWork:
        level = self._level_of(node)
        for tensor in node.output:
            self._levels[tensor] = level
        return NodeWork(name, node.op_type, level, count_macs(node, self._shapes) or 0)

    def _level_of(self, node: onnx.NodeProto) -> tuple[int, ...]:
        source = next((self._levels[tensor] for tensor in node.input if tensor in self._levels), ())
        shape = self._shapes.get(node.output[0]) or ()
        level = tuple(axis for axis in shape[2:] if axis)
        if len(shape) != self._rank or len(level) != len(shape) - 2:
            return source
        is_reduced = any(new == 1 and old > 1 for new, old in zip(level, source, strict=False))
        return source if is_reduced else level


def _name(node: onnx.NodeProto) -> str:
    return node.name or node.output[0]
