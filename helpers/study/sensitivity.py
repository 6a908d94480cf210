"""Which layers of a quantised model do the most harm: where the error grows most along the graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from helpers.compile.quantize import layers_to_keep, quantizable_layers
from helpers.graph.read import load_graph
from helpers.recipes.base import Recipe
from helpers.run import Run
from helpers.stages.compiled import compiled_path, read_manifest
from helpers.stages.graph import FINAL
from helpers.study.trace import OnnxForm, OpenVinoForm, TracedForm, compare_nodes

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def rank_layers(recipe: Recipe, base: Run, quantised: Run, windows: Sequence[np.ndarray]) -> list[str]:
    """Layers that int8 runs, the most harmful first: by the error that each adds to what arrives, over some windows.

    Args:
        recipe: of both runs.
        base: a run with the graph.
        quantised: a run with the int8 model.
        windows: batches (1, C, *window).
    """
    graph = base.path(FINAL)
    model, spec = load_graph(graph), recipe.graph_spec(base.params)
    added: dict[str, float] = {}
    before: dict[str, float] = {}
    for window in windows:
        rows = compare_nodes(model, OnnxForm(model), traced_form(quantised), {spec.input_name: window})
        before = {row.tensor: row.error for row in rows}
        for row in rows:
            if row.op in _LAYERS:
                added[row.node] = max(added.get(row.node, 0.0), row.error - row.input_error)
    kept = set(layers_to_keep(graph)) | set(quantised.params.keep_precise)
    layers = [name for name in quantizable_layers(graph) if name not in kept]
    return sorted(layers, key=lambda name: -added.get(name, 0.0)) if before else layers


def traced_form(run: Run) -> TracedForm:
    """The compiled model of a run on a CPU runtime, its tensors open to be asked for."""
    path, manifest = compiled_path(run), read_manifest(run)
    if manifest.runtime == "openvino":
        return OpenVinoForm(path, "bf16" if manifest.precision == "bf16" else "f32")
    return OnnxForm(load_graph(path))
