"""Faults planted in one node of a graph: perturbed weights, a norm that overflows in float16, a flipped axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from helpers.graph.surgery.base import GraphView
from helpers.graph.surgery.norm import AxiswiseInstanceNorm

# Scales activations beyond 256, whose squares overflow float16, or beyond 65504.
_LARGE = 1e6
LAYERS = ("Conv", "ConvTranspose")


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without inferred shapes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    return copy


def perturb_weights(model: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto, str]:
    """(reference, candidate, node): the weights of a layer in the middle are off by a tenth of their spread."""
    candidate, node = copy_of(model), _middle(model, LAYERS)
    tensor = next(tensor for tensor in candidate.graph.initializer if tensor.name == node.input[1])
    weights = numpy_helper.to_array(tensor)
    noise = np.random.default_rng(0).standard_normal(weights.shape).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(weights + 0.1 * weights.std() * noise, tensor.name))
    users = [each.name for each in model.graph.node if node.input[1] in each.input]
    return model, candidate, users[0]  # a network may use a layer twice; the first use diverges first


def flip_axis(model: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto, str]:
    """(reference, candidate, node): the last axis of the output of a layer in the middle is flipped."""
    node = _middle(model, LAYERS)
    return model, _insert_behind(model, node.output[0], _flip), node.name


def overflow_norm(model: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto, str]:
    """(reference, candidate, node): large activations enter a norm whose squares are kept in float16.

    If norms were folded into the layers (a BatchNorm), the layer's own output is kept in float16.
    """
    norm = _middle(model, ("InstanceNormalization",))
    if norm is None:
        return _overflow_layer(model)
    large = _insert_before(model, norm, _enlarge)
    norm = next(node for node in large.graph.node if norm.output[0] in node.output)
    made = AxiswiseInstanceNorm().replace(norm, GraphView.of(large))
    if made is None:
        return large, _insert_before(large, norm, _through_f16), norm.name
    candidate, nodes = copy_of(large), list(large.graph.node)
    place = next(index for index, each in enumerate(nodes) if norm.output[0] in each.output)
    del candidate.graph.node[:]
    candidate.graph.node.extend([*nodes[:place], *made.nodes, *nodes[place + 1 :]])
    candidate.graph.initializer.extend(made.initializers)
    square = next(each.output[0] for each in made.nodes if each.name.endswith("_square"))
    return large, _insert_behind(candidate, square, _through_f16), norm.name


def _overflow_layer(model: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto, str]:
    large, layer = copy_of(model), _middle(model, LAYERS)
    for tensor in large.graph.initializer:
        if tensor.name in layer.input[1:]:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(_LARGE), tensor.name))
    return large, _insert_behind(large, layer.output[0], _through_f16), layer.name


FAULTS: dict[str, Callable] = {
    "weights": perturb_weights,
    "norm in float16": overflow_norm,
    "flipped axis": flip_axis,
}


def _middle(model: onnx.ModelProto, ops: tuple[str, ...]) -> onnx.NodeProto | None:
    found = [node for node in model.graph.node if node.op_type in ops]
    return found[len(found) // 2] if found else None


def _insert_behind(model: onnx.ModelProto, tensor: str, make: Callable) -> onnx.ModelProto:
    """Inserts nodes between a tensor's producer and the tensor."""
    changed = copy_of(model)
    nodes = []
    for node in changed.graph.node:
        nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
        if tensor in node.output:
            nodes[-1].output[list(node.output).index(tensor)] = f"{tensor}_before"
            nodes += make(changed, f"{tensor}_before", tensor)
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return changed


def _insert_before(model: onnx.ModelProto, reader: onnx.NodeProto, make: Callable) -> onnx.ModelProto:
    changed = copy_of(model)
    nodes = []
    for node in changed.graph.node:
        copy = onnx.NodeProto.FromString(node.SerializeToString())
        if reader.output[0] in node.output:
            made = make(changed, node.input[0], f"{node.input[0]}_{make.__name__}")
            nodes += made
            copy.input[0] = made[-1].output[0]
        nodes.append(copy)
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return changed


def _flip(model: onnx.ModelProto, source: str, target: str) -> list[onnx.NodeProto]:
    for name, value in (("starts", -1), ("ends", -(2**31)), ("axes", -1), ("steps", -1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), f"flip_{name}"))
    return [helper.make_node("Slice", [source, "flip_starts", "flip_ends", "flip_axes", "flip_steps"], [target])]


def _enlarge(model: onnx.ModelProto, source: str, target: str) -> list[onnx.NodeProto]:
    model.graph.initializer.append(numpy_helper.from_array(np.array(_LARGE, np.float32), "large"))
    return [helper.make_node("Mul", [source, "large"], [target])]


def _through_f16(model: onnx.ModelProto, source: str, target: str) -> list[onnx.NodeProto]:
    half = f"{target}_half"
    return [
        helper.make_node("Cast", [source], [half], to=TensorProto.FLOAT16),
        helper.make_node("Cast", [half], [target], to=TensorProto.FLOAT),
    ]
