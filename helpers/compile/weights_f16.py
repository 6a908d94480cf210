"""Weights stored in float16 and widened to float32 when the model is opened: half the size, the same arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def store_weights_in_f16(graph: Path, output: Path) -> Path:
    """Writes `<output>.onnx`, whose layers' weights are float16 initializers behind a Cast to float32.

    A weight that float16 cannot hold (beyond ±65504) stays float32.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(graph))
    wanted = {name for node in model.graph.node if node.op_type in _LAYERS for name in node.input[1:2]}
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.name not in wanted or values.dtype != np.float32:
            continue
        if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            continue
        stored = f"{tensor.name}_f16"
        widen = helper.make_node("Cast", [stored], [tensor.name], f"{tensor.name}_widen", to=onnx.TensorProto.FLOAT)
        casts.append(widen)
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(model, full_check=True)
    path = output.with_suffix(".onnx")
    onnx.save(model, str(path))
    return path
