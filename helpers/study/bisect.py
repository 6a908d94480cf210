"""Finds the first node where one form of a graph departs from another, and tries it alone as the reference has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from helpers.graph.read import constants_of
from helpers.study.trace import NodeError, OnnxForm, TracedForm, compare_nodes, mark_outputs, tensor_error

# A node is to blame when its error is so many times what arrives; what only grows on its way started before it.
_JUMP = 4.0


@dataclass(frozen=True)
class Bisection:
    """The nodes in the graph's order, the first that departs, and what its repair alone would bring.

    Attributes:
        rows: error of every node.
        culprit: None where every node stays within the tolerance.
        final_error: of the graph's output.
        repaired_error: of the output with the culprit alone computed by the reference from the candidate's own
            inputs; None where that could not be tried.
    """

    rows: tuple[NodeError, ...]
    tolerance: float
    culprit: NodeError | None
    final_error: float
    repaired_error: float | None = None

    def verdict(self) -> str:
        """One sentence on the culprit."""
        if self.culprit is None:
            return f"every node stays within {self.tolerance:g} of its range"
        found = self.culprit
        text = (
            f"{found.op} {found.node} of shape {found.shape}: error {found.error:.1e} of range where"
            f" {found.input_error:.1e} arrives; values {_show(found.range)}, reference {_show(found.reference_range)}"
        )
        if self.repaired_error is None:
            return text
        return f"{text}; with this node alone as in the reference the output's error is {self.repaired_error:.1e}"


def bisect(
    model: onnx.ModelProto,
    reference: TracedForm,
    candidate: TracedForm,
    feeds: Mapping[str, np.ndarray],
    *,
    tolerance: float,
    reopen: Callable[[onnx.ModelProto], TracedForm] | None = None,
    candidate_model: onnx.ModelProto | None = None,
    **options: object,
) -> Bisection:
    """Compares every node and names the first whose own error is beyond the tolerance.

    Args:
        model: the reference's graph.
        reference, candidate: the two forms; tensors are matched by name.
        feeds: one batch by input name.
        tolerance: as a fraction of each tensor's range.
        reopen: opens a changed candidate's graph as the candidate is; needed to try the culprit alone.
        candidate_model: the candidate's own graph where it is another than `model`.
        options: of `compare_nodes`.
    """
    rows = compare_nodes(model, reference, candidate, feeds, **options)
    culprit = find_culprit(rows, tolerance)
    final = next((row.error for row in reversed(rows) if row.tensor == model.graph.output[0].name), float("nan"))
    repaired = None
    if culprit is not None and reopen is not None:
        graph = candidate_model or model
        repaired = _error_with_node_repaired(model, graph, culprit, reference, candidate, feeds, reopen)
    return Bisection(tuple(rows), tolerance, culprit, final, repaired)


def find_culprit(rows: Sequence[NodeError], tolerance: float) -> NodeError | None:
    """The first node beyond the tolerance whose error jumps there; where none jumps, the one that adds most."""
    beyond = [row for row in rows if row.error > tolerance]
    for row in beyond:
        if row.error > _JUMP * row.input_error:
            return row
    return max(beyond, key=lambda row: row.growth, default=None)


def out_nodes_arguments(model: onnx.ModelProto, per_model: int = 8) -> list[str]:
    """ATC's `--out_nodes` values that mark every node in turn, so many a model: `name:0;name:0`."""
    constants = constants_of(model)
    names = [node.name for node in model.graph.node if node.name and node.output[0] not in constants]
    parts = [names[first : first + per_model] for first in range(0, len(names), per_model)]
    return [";".join(f"{name}:0" for name in part) for part in parts]


def detach_tensor(
    model: onnx.ModelProto, tensor: str, shape: Sequence[int], dtype: type | np.dtype = np.float32
) -> onnx.ModelProto:
    """A copy of a graph that takes a tensor as a further input instead of computing it."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in cut.graph.node]
    kept = [node for node in kept if tensor not in node.output]
    del cut.graph.node[:], cut.graph.value_info[:]
    cut.graph.node.extend(_needed(kept, {value.name for value in cut.graph.output}))
    read = {name for node in cut.graph.node for name in node.input}
    inputs = [value for value in cut.graph.input if value.name in read]
    inputs = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in inputs]
    del cut.graph.input[:]
    cut.graph.input.extend(inputs)
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    cut.graph.input.append(onnx.helper.make_tensor_value_info(tensor, kind, list(shape)))
    return cut


def _error_with_node_repaired(model, graph, culprit, reference, candidate, feeds, reopen) -> float | None:
    node = next(node for node in model.graph.node if culprit.tensor in node.output)
    output = model.graph.output[0].name
    if culprit.tensor == output:
        return 0.0
    constants = constants_of(model)
    arriving = [name for name in node.input if name and name not in constants]
    inside = [name for name in arriving if name not in feeds]
    own = {**candidate.run(feeds, inside), **{name: feeds[name] for name in arriving if name in feeds}}
    if len(own) < len(set(arriving)):
        return None
    alone = mark_outputs(model, [culprit.tensor])
    for name in inside:
        alone = detach_tensor(alone, name, own[name].shape, own[name].dtype)
    read = {value.name for value in alone.graph.input}
    right = OnnxForm(alone).run({name: array for name, array in own.items() if name in read}, [culprit.tensor])
    cut = detach_tensor(graph, culprit.tensor, right[culprit.tensor].shape)
    read = {value.name for value in cut.graph.input}
    given = {name: array for name, array in {**feeds, **right}.items() if name in read}
    got = reopen(cut).run(given, [output])[output]
    return tensor_error(reference.run(feeds, [output])[output], got)


def _needed(nodes: list[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]


def _show(edges: tuple[float, float]) -> str:
    return f"{edges[0]:.4g} to {edges[1]:.4g}"
