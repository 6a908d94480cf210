"""The base class of graph rewrites; applies rewrites and proves that the graph's outputs stay the same."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import onnx
from onnx import helper, numpy_helper

from helpers.errors import GraphError
from helpers.graph.probe import Proof, full_window, probe_windows, resized, session_at
from helpers.graph.read import (
    all_graphs,
    all_nodes,
    check_graph,
    clean_ports,
    count_ops,
    inner_graphs,
    known_values,
    make_names_unique,
    names_in,
    new_name,
    opset_of,
    relative_error,
    set_shapes,
    tensor_shapes,
)
from helpers.graph.spec import GraphSpec
from helpers.params.yaml_file import unknown_name_error

_REGISTRY: dict[str, type[Rewrite]] = {}


@dataclass(frozen=True)
class GraphView:
    """A model with its tensor shapes, constants and names, computed once per rewrite."""

    model: onnx.ModelProto
    shapes: dict[str, tuple[int | None, ...]]
    constants: dict[str, np.ndarray]
    names: set[str]

    @classmethod
    def of(cls, model: onnx.ModelProto) -> GraphView:
        """The view of a model as it is now."""
        return cls(model, tensor_shapes(model), known_values(model), names_in(model))

    def new_name(self, wanted: str) -> str:
        """A name that nothing in the model has: the wanted one, with a number if it is taken."""
        return new_name(wanted, self.names)


@dataclass(frozen=True)
class Replacement:
    """The nodes that replace one node.

    Attributes:
        nodes: in topological order; together they write the node's output.
        initializers: the constants that these nodes read.
        description: for the surgery report.
        passes_on: the node is removed without a substitute, and its consumers read this tensor instead.
    """

    nodes: list[onnx.NodeProto]
    initializers: list[onnx.TensorProto]
    description: str
    passes_on: str | None = None


class SubgraphBuilder:
    """Builds the nodes that replace one node. Every name starts with that node's name and is new in the graph."""

    def __init__(self, node: onnx.NodeProto, view: GraphView):
        self._prefix = node.name or node.output[0]
        self._view = view
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []

    def constant(self, suffix: str, values: np.ndarray) -> str:
        """Adds an initializer and returns its name."""
        name = self._view.new_name(f"{self._prefix}_{suffix}")
        self._initializers.append(numpy_helper.from_array(values, name))
        return name

    def add(self, op: str, inputs: Sequence[str], suffix: str, output: str | None = None, **attributes: Any) -> str:
        """Adds a node and returns the name of its output, which is made from the suffix unless given."""
        output = output or self._view.new_name(f"{self._prefix}_{suffix}_out")
        name = self._view.new_name(f"{self._prefix}_{suffix}")
        self._nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def finish(self, description: str) -> Replacement:
        """The replacement made of everything added so far."""
        return Replacement(self._nodes, self._initializers, description)


class Rewrite(ABC):
    """A graph rewrite. Subclasses register themselves by name.

    A rewrite must not change the outputs; `rewrite_and_prove` checks this on random input.

    Attributes:
        name: the name that targets and recipes list.
        why: the reason for the rewrite, shown next to the rewritten nodes.
        tolerance: maximum difference of the outputs as a fraction of their range; above 0 only for a rewrite that
            rounds differently.
        precisions: the precisions in which the rewrite is worth its cost; None for all.
    """

    name: ClassVar[str]
    why: ClassVar[str]
    tolerance: ClassVar[float] = 0.0
    precisions: ClassVar[frozenset[str] | None] = None

    def __init_subclass__(cls, **kwargs: object):
        super().__init_subclass__(**kwargs)
        _REGISTRY[cls.name] = cls

    @abstractmethod
    def replace(self, node: onnx.NodeProto, view: GraphView) -> Replacement | None:
        """The replacement of a node, or None if the pattern does not match."""


def rewrite_names() -> list[str]:
    """The names of all rewrites, sorted."""
    return sorted(_REGISTRY)


def rewrite_named(name: str) -> Rewrite:
    """The rewrite with this name.

    Raises:
        ParameterError: no rewrite has this name.
    """
    if name not in _REGISTRY:
        raise unknown_name_error("rewrite", name, _REGISTRY)
    return _REGISTRY[name]()


@dataclass(frozen=True)
class SurgeryReport:
    """The rewritten nodes, and the proof that the outputs stayed the same.

    Attributes:
        rows: (rewrite, node, description) for every rewritten node.
        ops_before, ops_after: number of nodes by op.
        proof: the comparison of the outputs; without errors if nothing was rewritten.
    """

    rows: tuple[tuple[str, str, str], ...]
    ops_before: dict[str, int]
    ops_after: dict[str, int]
    proof: Proof

    @property
    def batches(self) -> tuple[int, ...]:
        """Batch sizes at which the outputs are the same."""
        return self.proof.batches

    @property
    def largest_change(self) -> float:
        """Maximum difference of the outputs, as a fraction of their range; 0 for an exact rewrite."""
        return self.proof.largest

    def op_changes(self) -> list[tuple[str, int, int]]:
        """(op, number before, number after) for every op whose number changed."""
        names = sorted(set(self.ops_before) | set(self.ops_after))
        counts = [(name, self.ops_before.get(name, 0), self.ops_after.get(name, 0)) for name in names]
        return [row for row in counts if row[1] != row[2]]


def rewrite_and_prove(
    model: onnx.ModelProto, rewrites: list[Rewrite], spec: GraphSpec, *, seed: int = 0, at_full_size: bool = True
) -> tuple[onnx.ModelProto, SurgeryReport]:
    """Rewrites every matching node and proves that the outputs stay the same.

    Args:
        model: the graph; it is not modified.
        rewrites: applied in this order.
        spec: names and shapes of the inputs.
        seed: seed of the random inputs.
        at_full_size: whether a graph into which a rewrite writes sizes is also run on a full window; not needed if
            the model that is compiled from it is compared there.

    Returns:
        The rewritten model with inferred shapes, and the report.

    Raises:
        GraphError: the rewritten graph fails ONNX's checker or computes different outputs.
    """
    result, rows = rewrite_graph(model, rewrites)
    matched = {name for name, _, _ in rows}
    allowed = max((rewrite.tolerance for rewrite in rewrites if rewrite.name in matched), default=0.0)
    proof = Proof(full_window(spec), spec.batches_to_prove(), ())
    if rows:
        proof = _Comparison(model, spec, seed, allowed).prove(result, rewrites, at_full_size)
    error = proof.largest
    if error > allowed or opset_of(result) != opset_of(model):
        raise GraphError(
            "the rewritten graph computes different outputs",
            received=f"a difference of {error:g} of their range on random input",
            expected=f"at most {allowed:g}",
            remedy="Remove the rewrite and report the graph.",
        )
    return result, SurgeryReport(tuple(rows), count_ops(model), count_ops(result), proof)


def rewrite_graph(
    model: onnx.ModelProto, rewrites: list[Rewrite]
) -> tuple[onnx.ModelProto, list[tuple[str, str, str]]]:
    """Rewrites every matching node, without proving anything.

    Returns:
        The rewritten model with inferred shapes, and (rewrite, node, description) for every rewritten node.

    Raises:
        GraphError: the rewritten graph fails ONNX's checker.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result, rewrite_in_place(result, rewrites)


def rewrite_in_place(model: onnx.ModelProto, rewrites: list[Rewrite]) -> list[tuple[str, str, str]]:
    """As `rewrite_graph`, without a second copy of the weights; returns (rewrite, node, description) by node."""
    clean_ports(model)
    make_names_unique(model)
    rows: list[tuple[str, str, str]] = []
    for rewrite in rewrites:
        view = GraphView.of(model)
        for graph in all_graphs(model.graph):
            rows += _apply_one(graph, rewrite, view)
    for graph in all_graphs(model.graph):
        del graph.value_info[:]
    _drop_unused_constants(model)
    set_shapes(model)
    check_graph(model, "the rewritten graph fails ONNX's checker")
    return rows


def _apply_one(graph: onnx.GraphProto, rewrite: Rewrite, view: GraphView) -> list[tuple[str, str, str]]:
    nodes, rows = [], []
    renamed: dict[str, str] = {}
    for node in graph.node:
        replacement = rewrite.replace(node, view)
        if replacement is None:
            nodes.append(node)
            continue
        if replacement.passes_on is not None:
            renamed[node.output[0]] = renamed.get(replacement.passes_on, replacement.passes_on)
        nodes += replacement.nodes
        graph.initializer.extend(replacement.initializers)
        rows.append((rewrite.name, node.name or node.output[0], replacement.description))
    if rows:
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        _rename_inputs(kept, renamed)
        del graph.node[:]
        graph.node.extend(kept)
    return rows


def _rename_inputs(nodes: Iterable[onnx.NodeProto], renamed: Mapping[str, str]) -> None:
    """Renames what nodes read, also within If, Loop and Scan, whose graphs read tensors of the graphs around them."""
    for node in nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        for inner in inner_graphs(node):
            _rename_inputs(inner.node, renamed)
            for value in inner.output:
                value.name = renamed.get(value.name, value.name)


def _drop_unused_constants(model: onnx.ModelProto) -> None:
    used = {name for node in all_nodes(model) for name in node.input}
    used |= {value.name for graph in all_graphs(model.graph) for value in graph.output}
    graph = model.graph
    nodes = [node for node in graph.node if node.op_type != "Constant" or node.output[0] in used]
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    if len(nodes) == len(graph.node) and len(initializers) == len(graph.initializer):
        return
    kept_nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    kept_tensors = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in initializers]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept_nodes)
    graph.initializer.extend(kept_tensors)


@dataclass(frozen=True)
class _Comparison:
    """Compares a graph with its rewritten form.

    Attributes:
        before: the graph.
        spec, seed: as in `rewrite_and_prove`.
        allowed: the largest permitted difference.
    """

    before: onnx.ModelProto
    spec: GraphSpec
    seed: int
    allowed: float

    def prove(self, after: onnx.ModelProto, rewrites: list[Rewrite], at_full_size: bool) -> Proof:
        """The proof on small windows where they suffice, else on full ones."""
        batches = self.spec.batches_to_prove()
        small, *full = probe_windows(self.before, self.spec)
        if not full:
            return self._at(small, lambda: after, batches)
        # A rewrite may write sizes into the graph. It is then proven on a smaller graph, and its result on one full
        # window; a result without sizes is proven by itself.
        if at_full_size and (free := self._try(small, lambda: after)):
            return free
        fixed = self._try(small, lambda: rewrite_graph(resized(self.before, small), rewrites)[0])
        if fixed and not at_full_size:
            return fixed
        proof = self._at(full[0], lambda: after, batches[:1] if fixed else batches)
        return replace(proof, batches=batches) if fixed else proof

    def _try(self, window: tuple[int, ...], rewritten: Callable[[], onnx.ModelProto]) -> Proof | None:
        try:
            proof = self._at(window, rewritten, self.spec.batches_to_prove())
        except Exception:  # whatever a runtime raises for a size that a graph does not take
            return None
        return proof if proof.largest <= self.allowed else None

    def _at(self, window: tuple[int, ...], after: Callable[[], onnx.ModelProto], batches: Sequence[int]) -> Proof:
        random = np.random.default_rng(self.seed)
        shapes = [(batch, self.spec.input_shape[0], *window) for batch in batches]
        feeds = [{self.spec.input_name: random.standard_normal(shape, dtype=np.float32)} for shape in shapes]
        # One session after the other, so that the weights of one graph are in memory at a time.
        expected = _run_all(self.before, self.spec, window, feeds)
        try:
            actual = _run_all(after(), self.spec, window, feeds)
        except Exception as error:
            raise GraphError("the rewritten graph does not run", received=str(error)) from error
        errors = [_largest_error(old, new) for old, new in zip(expected, actual, strict=True)]
        return Proof(window, tuple(batches), tuple(errors))


def _run_all(
    model: onnx.ModelProto, spec: GraphSpec, window: tuple[int, ...], feeds: Sequence[Mapping[str, np.ndarray]]
) -> list[dict[str, np.ndarray]]:
    session = session_at(model, spec, window)
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(names, feed), strict=True)) for feed in feeds]


def _largest_error(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray]) -> float:
    if old.keys() - new.keys():
        return math.inf
    return max(relative_error(old[name], new[name]) for name in old)
