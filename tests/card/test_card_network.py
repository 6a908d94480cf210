"""Whatever the ports of a file look like, the exported graph has the cookbook's, and the file's own scores."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from helpers.card.network import open_network
from helpers.card.reading import OpenedCard, parse_card
from helpers.errors import GraphError, ParameterError
from helpers.graph.read import load_graph, opset_of, relative_error, run_reference
from helpers.graph.spec import GraphSpec
from tests.card import small_models as small


def network(tmp_path, file: str, **changes: object):
    content = small.card_of(file, **changes)
    return open_network(OpenedCard(parse_card(content, "card.yaml"), tmp_path / "card.yaml"))


def export(made, path, opset: int = 13, **changes: object) -> tuple[GraphSpec, list[str]]:
    ports = made.ports
    spec = GraphSpec(ports.input_name, ports.output_name, (ports.channels, *ports.size), opset, **changes)
    return spec, made.export(spec, path)


def sample(batch: int = 3) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((batch, 3, 16, 24), dtype=np.float32)


def expected(batch: np.ndarray) -> np.ndarray:
    return np.einsum("kc,nchw->nkhw", small.MIX, batch)


def scores_of(path, spec: GraphSpec, batch: np.ndarray) -> np.ndarray:
    return run_reference(path, {spec.input_name: batch})[spec.output_name]


def check(tmp_path, made, wanted: np.ndarray, batch: np.ndarray) -> list[str]:
    spec, changes = export(made, tmp_path / "out.onnx")
    assert relative_error(wanted, scores_of(tmp_path / "out.onnx", spec, batch)) < 1e-6
    assert relative_error(wanted, made.runner.scores(batch)) < 1e-6
    return changes


def test_a_file_with_these_ports_is_left_as_it_is(tmp_path):
    small.mixer(tmp_path / "m.onnx")
    assert check(tmp_path, network(tmp_path, "m.onnx"), expected(sample()), sample()) == []


def test_channels_last(tmp_path):
    small.channels_last(tmp_path / "m.onnx")
    made = network(tmp_path, "m.onnx", model={"file": "m.onnx", "layout": "channels_last"})
    assert len(check(tmp_path, made, expected(sample()), sample())) == 2


def test_bytes_are_clipped_and_cast(tmp_path):
    small.channels_last(tmp_path / "m.onnx", TensorProto.UINT8)
    made = network(tmp_path, "m.onnx", model={"file": "m.onnx", "layout": "channels_last"})
    batch = (sample() * 200).astype(np.float32)
    changes = check(tmp_path, made, expected(np.trunc(batch.clip(0, 255))), batch)
    assert any("instead of uint8" in change for change in changes)


def test_a_final_argmax_is_left_out_and_the_labels_stay(tmp_path):
    small.mixer(tmp_path / "m.onnx", "ArgMax")
    made = network(tmp_path, "m.onnx", output={"kind": "label_map"})
    changes = check(tmp_path, made, expected(sample()), sample())
    assert changes == ["the final ArgMax is left out: labels are taken from the scores before it"]
    (own,) = run_reference(tmp_path / "m.onnx", {"image": sample()}).values()
    assert np.array_equal(made.runner.scores(sample()).argmax(axis=1), own)


def test_class_numbers_without_an_argmax_become_channels(tmp_path):
    small.thresholded(tmp_path / "m.onnx")
    made = network(tmp_path, "m.onnx", output={"kind": "label_map"})
    above = sample().mean(axis=1, keepdims=True) > np.float32(0.1)
    check(tmp_path, made, np.concatenate([~above, above], axis=1).astype(np.float32), sample())


def test_another_output_by_name_and_by_position_with_the_batch_on_axis_1(tmp_path):
    small.two_outputs(tmp_path / "m.onnx")
    first = network(tmp_path, "m.onnx", model={"file": "m.onnx", "batch_axis": 1})
    check(tmp_path, first, -expected(sample()), sample())
    for output in ("other", 1):
        made = network(tmp_path, "m.onnx", model={"file": "m.onnx", "output": output})
        changes = check(tmp_path, made, expected(sample()), sample())
        assert changes == ["only the output other is kept"]
        assert not any(node.op_type == "Neg" for node in load_graph(tmp_path / "out.onnx").graph.node)


def test_float16_inside_becomes_float32(tmp_path):
    small.mixer(tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    half = numpy_helper.from_array(small.MIX[:, :, None, None].astype(np.float16), "mix")
    model.graph.initializer[0].CopyFrom(half)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, tmp_path / "m.onnx")
    made = network(tmp_path, "m.onnx")
    weights = small.MIX.astype(np.float16).astype(np.float32)
    changes = check(tmp_path, made, np.einsum("kc,nchw->nkhw", weights, sample()), sample())
    assert changes[0].startswith("its float16 numbers become float32") and "of their range" in changes[1]


@pytest.mark.parametrize("opset", [14, 17])
def test_another_opset_is_converted(tmp_path, opset):
    small.mixer(tmp_path / "m.onnx", "Softmax")
    made = network(tmp_path, "m.onnx", output={"kind": "probabilities"})
    spec, changes = export(made, tmp_path / "out.onnx", opset)
    assert opset_of(load_graph(tmp_path / "out.onnx")) == opset
    assert changes == [f"converted from opset 13 to {opset}"]
    assert relative_error(made.runner.scores(sample()), scores_of(tmp_path / "out.onnx", spec, sample())) < 1e-6


def test_a_conversion_that_would_change_the_scores_is_refused(tmp_path):
    small.mixer(tmp_path / "m.onnx", "Softmax")
    made = network(tmp_path, "m.onnx", output={"kind": "probabilities"})
    with pytest.raises(GraphError, match="last, whose meaning changed in opset 13"):
        export(made, tmp_path / "out.onnx", 11)
    assert not (tmp_path / "out.onnx").exists()


def test_a_fixed_batch_is_kept_and_the_reference_still_takes_any(tmp_path):
    small.mixer(tmp_path / "m.onnx", batch=2)
    made = network(tmp_path, "m.onnx")
    assert made.ports.batch == 2
    assert relative_error(expected(sample(3)), made.runner.scores(sample(3))) < 1e-6


def test_a_size_that_the_model_cannot_take_is_one_line(tmp_path):
    nodes = [onnx.helper.make_node("Reshape", ["image", "shape"], ["out"], "fixed")]
    source, target = ("image", 1, ["batch", 3, "h", "w"]), ("out", 1, ["batch", 2, 16, 24])
    small.save_model(tmp_path / "m.onnx", nodes, source, [target], {"shape": np.array([1, 2, 16, 24])})
    with pytest.raises(GraphError, match="cannot run on a batch of 1 x 3 x 10 x 10"):
        _ = network(tmp_path, "m.onnx", preparation={"size": [10, 10]}).ports


def test_a_second_input_is_refused(tmp_path):
    small.mixer(tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    model.graph.input.append(onnx.helper.make_tensor_value_info("training", TensorProto.BOOL, []))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ParameterError, match="further inputs: received training"):
        _ = network(tmp_path, "m.onnx").ports
