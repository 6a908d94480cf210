"""Shapes for raw files, also if the graph's file leaves them open."""

from __future__ import annotations

import onnx
import pytest

from helpers.graph.spec import GraphSpec
from helpers.interop.ports import ports_of_graph


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize(("class_map", "shape", "axis"), [(False, (2, 20, 24), 0), (True, (1, 20, 24), 1)])
def test_an_open_shape_is_found_by_running_the_graph(opened, class_map, shape, axis, tmp_path, make_graph):
    path = tmp_path / "small.onnx"
    make_graph(path, (20, 24), class_map=class_map)
    if opened:
        model = onnx.load(str(path))
        for dim in model.graph.output[0].type.tensor_type.shape.dim:
            dim.Clear()
        onnx.save(model, str(path))
    spec = GraphSpec("image", "class", (1, 20, 24), output_batch_axis=axis)
    ports = ports_of_graph(path, spec, 16)
    assert (ports.output_shape, ports.output_is_integer, ports.batch_size) == (shape, class_map, 16)
