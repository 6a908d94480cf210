"""Reads what an ONNX file says about itself, and runs it as it is in ONNX Runtime."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from helpers.card.port_editing import widen_float16
from helpers.card.ports import Port, PortForm, in_batches
from helpers.errors import GraphError, ParameterError, last_line
from helpers.graph.read import load_graph, open_reference, opset_of

# Ops that pass the values of the class scores on.
_PASSING = ("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Transpose")
_RESIZING = ("Resize", "Upsample", "Slice")
_INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
_NUMBERS = {helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in ("float32", "float64", *_INTEGERS)}


@dataclass(frozen=True)
class OnnxFacts:
    """What a file says about itself.

    Attributes:
        opset: its default operator set.
        inputs: without the initialisers.
        outputs: in order.
        endings: output to the op that makes its values, such as Softmax; Reshape, Cast and the like are skipped.
        domains: operator sets other than the default one that its nodes use.
    """

    opset: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    endings: Mapping[str, str]
    domains: tuple[str, ...]

    def choose_input(self, name: str | None) -> Port:
        """The only input.

        Raises:
            ParameterError: there are several, or none has this name.
        """
        found = _choose("input", self.inputs, name)
        others = [str(port) for port in self.inputs if port is not found]
        if others:
            raise ParameterError(
                "the model has further inputs",
                received=", ".join(others),
                expected="an image as the only input",
                remedy="Make them constants when you export it.",
            )
        return _check_numbers("input", found)

    def choose_output(self, name: str | int | None) -> Port:
        """The output of a name or a position, or the first.

        Raises:
            ParameterError: there is none of that name.
        """
        if isinstance(name, int):
            if not 0 <= name < len(self.outputs):
                raise ParameterError("no such output", received=name, expected=f"0 to {len(self.outputs) - 1}")
            return _check_numbers("output", self.outputs[name])
        return _check_numbers("output", _choose("output", self.outputs, name))


def _choose(kind: str, ports: tuple[Port, ...], name: str | None) -> Port:
    if not ports:
        raise GraphError(f"the model has no {kind}")
    named = [port for port in ports if port.name == name]
    if name is not None and not named:
        known = ", ".join(port.name for port in ports)
        raise ParameterError(f"the model has no {kind} {name!r}", expected=known)
    return (named or list(ports))[0]


def _check_numbers(kind: str, port: Port) -> Port:
    if port.element not in _NUMBERS | ({TensorProto.BOOL} if kind == "output" else set()):
        raise ParameterError(
            f"the model's {kind} {port.name} does not hold plain numbers",
            received=TensorProto.DataType.Name(port.element).lower(),
            expected="integers or floating-point numbers of 16 to 64 bits",
            remedy="Export the network without the steps that read or write files.",
        )
    return port


def read_facts(path: Path) -> OnnxFacts:
    """The facts of an ONNX file; a file that did not change is read once.

    Raises:
        GraphError: the file is not an ONNX model, or has a port that is not a tensor.
    """
    status = path.stat()
    return _read_facts(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=8)
def _read_facts(path: Path, _changed: int, _size: int) -> OnnxFacts:
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise GraphError(f"{path} is not an ONNX model", received=type(error).__name__) from None
    if not model.graph.node:
        raise GraphError(f"{path} is not an ONNX model", received="no nodes")
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_port(value) for value in model.graph.input if value.name not in constants)
    outputs = tuple(_port(value) for value in model.graph.output)
    endings = {port.name: _ending(model.graph, port.name) for port in outputs}
    domains = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    return OnnxFacts(opset_of(model), inputs, outputs, endings, tuple(sorted(domains)))


def _port(value: onnx.ValueInfoProto) -> Port:
    if not value.type.HasField("tensor_type"):
        raise GraphError(f"port {value.name} of the model is not a tensor", received=value.type.WhichOneof("value"))
    tensor = value.type.tensor_type
    element = TensorProto.FLOAT if tensor.elem_type == TensorProto.FLOAT16 else tensor.elem_type
    if not tensor.HasField("shape"):
        return Port(value.name, element, None)
    return Port(value.name, element, tuple(axis.dim_value or None for axis in _known(tensor.shape.dim)))


def _known(axes: Iterable[onnx.TensorShapeProto.Dimension]) -> list[onnx.TensorShapeProto.Dimension]:
    # Some exporters write a length of -1 for an axis of any length.
    return [axis if axis.dim_value >= 0 else onnx.TensorShapeProto.Dimension() for axis in axes]


def _ending(graph: onnx.GraphProto, name: str) -> str:
    producers = {output: node for node in graph.node for output in node.output}
    node = producers.get(name)
    while node is not None and node.op_type in (*_PASSING, *_RESIZING):
        node = producers.get(node.input[0])
    return "" if node is None else node.op_type


def find_form(
    path: Path,
    spatial: int,
    output: str | int | None,
    *,
    name: str | None,
    channels_last: bool,
    batch_axis: int,
    classes: int,
) -> PortForm:
    """The form of a file's ports.

    Args:
        path: of the file.
        spatial: number of spatial axes.
        output, name: the output and the input to use.
        channels_last, batch_axis: as the card says.
        classes: number of classes, if the output is a label map; else 0.

    Raises:
        GraphError: a port has another number of axes.
    """
    facts = read_facts(path)
    source, target = facts.choose_input(name), facts.choose_output(output)
    if source.shape is not None and len(source.shape) != spatial + 2:
        raise GraphError(
            f"the model's input {source.name} has {len(source.shape)} axes",
            received=str(source),
            expected=f"{spatial + 2}: batch, channels and {spatial} of the image",
            remedy="Set data.kind and preparation.size to the model's.",
        )
    plain = PortForm(source, target, target.name, spatial, channels_last, channels_last, batch_axis)
    return _before_argmax(path, plain, classes) if classes else plain


def _before_argmax(path: Path, form: PortForm, classes: int) -> PortForm:
    """The form with the scores before the final ArgMax; without one, with one channel per class number."""
    found = _argmax_before(onnx.load(str(path), load_external_data=False).graph, form.output.name)
    axis = next((entry.i for entry in found.attribute if entry.name == "axis"), 0) if found else None
    if found is None or axis not in (1, -1, form.spatial + 1):
        return replace(form, class_numbers=classes)
    return replace(form, scores=found.input[0], scores_last=axis != 1, batch_axis=0)


def _argmax_before(graph: onnx.GraphProto, name: str) -> onnx.NodeProto | None:
    producers = {output: node for node in graph.node for output in node.output}
    node = producers.get(name)
    while node is not None and node.op_type in _PASSING:
        node = producers.get(node.input[0])
    return node if node is not None and node.op_type == "ArgMax" else None


class FileRunner:
    """Runs a file as it is in ONNX Runtime, with its input and scores in the form of the cookbook.

    Args:
        path: of the file.
        form: of its ports.
        widen: whether its float16 tensors become float32.
    """

    def __init__(self, path: Path, form: PortForm, *, widen: bool = True):
        model = load_graph(path)
        dtypes = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
        self._is_half = not widen and dtypes[form.input.name] == TensorProto.FLOAT16
        if widen:
            widen_float16(model.graph)
        if form.scores != form.output.name:
            model.graph.output.append(helper.make_empty_tensor_value_info(form.scores))
        self._form, self._session = form, open_reference(model)
        axes = form.input.shape
        self._batch = axes[0] if axes else None

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """Scores (N, channels, ...) float32 of a batch (N, C, ...) float32, in batches of the file's own size."""
        return in_batches(self._run, batch, self._batch)

    def _run(self, batch: np.ndarray) -> np.ndarray:
        given = self._form.to_file(batch)
        feeds = {self._form.input.name: given.astype(np.float16) if self._is_half else given}
        try:
            (scores,) = self._session.run([self._form.scores], feeds)
        except Exception as error:
            shape = " x ".join(str(axis) for axis in batch.shape)
            raise GraphError(
                f"the model cannot run on a batch of {shape}",
                received=last_line(error),
                remedy="Set preparation.size to a size that it takes; for a batch, -p dynamic_batch false.",
            ) from None
        return self._form.from_file(scores)


def run_unchanged(path: Path, form: PortForm, batch: np.ndarray) -> np.ndarray | None:
    """The scores of a file with float16 inside as it is; None for other files."""
    model = load_graph(path)
    if not widen_float16(model.graph):
        return None
    return FileRunner(path, form, widen=False).scores(batch)
