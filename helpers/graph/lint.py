"""Finds the nodes that a target's compiler would reject, without calling it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from helpers.graph.read import all_nodes, opset_of, tensor_shapes
from helpers.params.targets import RefusedOp, Target

# Resize was called Upsample before opset 10.
_EARLIER_NAMES = {"Upsample": "Resize"}


@dataclass(frozen=True)
class Objection:
    """A node that a target rejects, the reason, and the rewrite that fixes it, if any."""

    node: str
    op: str
    shape: tuple[int | None, ...] | None
    why: str
    rewrite: str | None


def lint(model: onnx.ModelProto, target: Target) -> list[Objection]:
    """Lists a target's objections to a graph, in the graph's order.

    The rules are in `params/targets/<name>.yaml`. They cover documented and observed limits only, so a compiler may
    still reject a graph without objections.
    """
    objections = []
    opset = opset_of(model)
    if not target.opset_minimum <= opset <= target.opset_maximum:
        why = f"opset {opset}; the target reads {target.opset_minimum} to {target.opset_maximum}"
        objections.append(Objection("(graph)", "opset", None, why, None))
    shapes = tensor_shapes(model)
    for node in all_nodes(model):
        shape = shapes.get(node.input[0]) if node.input else None
        for rule in target.refuses:
            if _applies(rule, node, shape):
                why = rule.why if rule.rank is None or shape is not None else f"{rule.why}; its rank is unknown here"
                name = node.name or node.output[0]
                objections.append(Objection(name, node.op_type, shape, why, rule.rewrite))
                break
    return objections


def _applies(rule: RefusedOp, node: onnx.NodeProto, shape: tuple[int | None, ...] | None) -> bool:
    if rule.op != _EARLIER_NAMES.get(node.op_type, node.op_type):
        return False
    # A node of unknown rank may be of the refused one: better to say so than to call the graph clean.
    if rule.rank is not None and shape is not None and len(shape) != rule.rank:
        return False
    attributes = {a.name: a.s.decode() for a in node.attribute if a.type == onnx.AttributeProto.STRING}
    is_excepted = rule.unless and all(attributes.get(name) in values for name, values in rule.unless.items())
    return not is_excepted
