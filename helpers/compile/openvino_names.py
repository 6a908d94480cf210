"""OpenVINO's model of an ONNX graph, its layers under the graph's names and every other name the same each time."""

from __future__ import annotations

import re
from pathlib import Path

# Names that OpenVINO makes up hold a counter of the process.
_COUNTED = re.compile(r"^[A-Za-z]+_\d+$")
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_PRODUCTS = ("Convolution", "ConvolutionBackpropData", "GroupConvolution", "GroupConvolutionBackpropData", "MatMul")


def convert_with_names(graph: Path):
    """An `openvino.Model` of an ONNX file.

    A layer with a bias becomes two ops, of which OpenVINO names the addition after the node; here the product gets
    the node's name, so that a layer can be found by it. Made-up names are numbered by their place in the graph.
    """
    import onnx
    import openvino

    model = openvino.convert_model(graph)
    ops = model.get_ordered_ops()
    for index, op in enumerate(ops):
        if _COUNTED.match(op.get_friendly_name()):
            op.set_friendly_name(f"{op.get_type_name()}_{index}")
    makers = {name: op for op in ops for port in op.outputs() for name in port.get_names()}
    for node in onnx.load(str(graph), load_external_data=False).graph.node:
        product = _product_behind(makers.get(node.output[0])) if node.op_type in _LAYERS else None
        if product is not None and product.get_friendly_name() != node.name:
            makers[node.output[0]].set_friendly_name(f"{node.name}/biased")
            product.set_friendly_name(node.name)
    return model


def _product_behind(op):
    """The convolution or matrix product whose answer, a bias added, an op makes."""
    while op is not None and op.get_type_name() not in _PRODUCTS:
        if op.get_type_name() not in ("Add", "Reshape", "Result") or not op.inputs():
            return None
        op = op.input_value(0).get_node()
    return op
