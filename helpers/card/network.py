"""The network of a card, whatever kind of file it is: its ports, a reference that runs it, and its export."""

from __future__ import annotations

import functools
import json
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import onnx
from onnx import TensorProto

from helpers.card.onnx_file import FileRunner, find_form, read_facts, run_unchanged
from helpers.card.port_editing import write_in_form
from helpers.card.ports import Port, PortForm
from helpers.card.reading import OpenedCard, count_channels
from helpers.card.schema import ModelCard
from helpers.card.torch_file import (
    INPUT,
    OUTPUT,
    ModuleRunner,
    OpenedModule,
    export_module,
    one_output,
    open_module,
)
from helpers.errors import GraphError, ParameterError
from helpers.graph.read import relative_error
from helpers.graph.spec import GraphSpec

if TYPE_CHECKING:
    import torch


_FLOAT16_LIMIT = 5e-2  # of the range of scores


class Runner(Protocol):
    """Runs the model that the user gave, as it is."""

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """Scores (N, channels, ...) float32 of a batch (N, C, ...) float32."""


@dataclass(frozen=True)
class NetworkPorts:
    """The ports of a network for one card.

    Attributes:
        input_name, output_name: of the exported graph.
        channels: of the input.
        size: spatial size of the input.
        batch: the batch size that the file fixes; None for any.
        scores: (channels, ...) of the output for one sample.
    """

    input_name: str
    output_name: str
    channels: int
    size: tuple[int, ...]
    batch: int | None
    scores: tuple[int, ...]


class CardNetwork(ABC):
    """The network of a card.

    Args:
        opened: the card.
    """

    def __init__(self, opened: OpenedCard):
        self.opened, self.card = opened, opened.card

    @property
    @abstractmethod
    def opset(self) -> int | None:
        """The operator set of the file; None if it is chosen at export."""

    @property
    @abstractmethod
    def description(self) -> str:
        """What the file is and holds, for tables."""

    @property
    @abstractmethod
    def form(self) -> PortForm:
        """How its ports differ from the cookbook's."""

    @property
    @abstractmethod
    def runner(self) -> Runner:
        """The reference."""

    @abstractmethod
    def export(self, spec: GraphSpec, path: Path) -> list[str]:
        """Writes the graph with the ports of the cookbook, and returns what was changed, in words."""

    @functools.cached_property
    def ports(self) -> NetworkPorts:
        """Its ports, checked against the card.

        Raises:
            ParameterError: the card contradicts the model, or leaves a size open that the model does not fix.
        """
        form = self.form
        axes = form.input.shape or (None,) * (form.spatial + 2)
        spatial = axes[1:-1] if form.channels_last else axes[2:]
        channels = self._agree(axes[-1] if form.channels_last else axes[1])
        size = self._size(spatial)
        sample = np.zeros((1, channels, *size), np.float32)
        scores = self.runner.scores(sample).shape[1:]
        _check_scores(self.card, self.opened.path.name, scores, size)
        return NetworkPorts(form.input.name, form.output.name, channels, size, axes[0], scores)

    def _agree(self, fixed: int | None) -> int:
        """The number of channels, from the card and the model."""
        card = count_channels(self.card)
        if card is not None and fixed is not None and card != fixed:
            hint = "colour: grey" if fixed == 1 else "one entry of data.files per channel"
            raise ParameterError(
                f"{self.opened.path.name} gives the model another number of channels",
                received=f"{card}: {', '.join(self.card.data.files)} ({self.card.data.colour})"
                if not self.card.is_volume
                else f"{card}: {', '.join(self.card.data.files)}",
                expected=f"{fixed}, as in the model",
                remedy=f"Use {hint}.",
            )
        if (known := fixed or card) is None:
            raise ParameterError(
                f"neither {self.opened.path.name} nor the model says how many channels a picture has",
                remedy="Name one file per channel in data.files.",
            )
        return known

    def _size(self, fixed: tuple[int | None, ...]) -> tuple[int, ...]:
        given = self.card.preparation.size
        if given is None:
            if None in fixed:
                raise ParameterError(
                    f"preparation.size is missing in {self.opened.path.name}",
                    received=f"a model for images of any size ({' x '.join(str(axis or '?') for axis in fixed)})",
                    remedy="Set it to the size that the model was trained with.",
                )
            return tuple(axis for axis in fixed if axis is not None)
        if any(axis not in (None, side) for axis, side in zip(fixed, given, strict=True)):
            raise ParameterError(
                f"preparation.size in {self.opened.path.name} is not the model's",
                received=given,
                expected=" x ".join(str(axis or "any") for axis in fixed),
                remedy="Leave it out to use the model's.",
            )
        return tuple(given)


def spatial_axes(card: ModelCard, fixed: int | None) -> int:
    """Number of spatial axes of the network: of the size, of the model, or of the images."""
    if card.preparation.size is not None:
        return len(card.preparation.size)
    return fixed or (3 if card.is_volume else 2)


def uses_sigmoid(card: ModelCard, channels: int) -> bool:
    """Whether each channel is a class of its own, and the background none: said by the card, or a single channel."""
    if card.output.activation is not None:
        return card.output.activation == "sigmoid"
    return channels == 1 and card.output.kind != "label_map"


def _check_scores(card: ModelCard, name: str, scores: tuple[int, ...], size: tuple[int, ...]) -> None:
    if len(scores) != len(size) + 1:
        raise ParameterError(
            "the model's output is not an image of scores",
            received=f"{len(scores) + 1} axes",
            expected=f"{len(size) + 2}: batch, classes and {len(size)} of the image",
            remedy="Set model.output to another output.",
        )
    channels, classes = scores[0], len(card.classes)
    expected = classes - 1 if uses_sigmoid(card, channels) else classes
    if channels != expected:
        one = f"{channels} channel{'' if channels == 1 else 's'}"
        raise ParameterError(
            f"classes in {name} do not fit the model's output of {one}",
            received=f"{classes} classes: {', '.join(card.classes)}",
            expected=f"{channels} with activation softmax, {channels + 1} with sigmoid; the background counts",
            remedy="Set model.layout, if these are not its classes." if channels in size else None,
        )
    if "threshold" in card.output.model_fields_set and not uses_sigmoid(card, channels):
        raise ParameterError(
            f"output.threshold in {name} has no meaning for a model whose largest score wins",
            received=f"{card.output.threshold:g} for {channels} channels",
            expected="a threshold with activation sigmoid only",
            remedy="Remove it, or set output.activation.",
        )
    whole = card.preparation.fit != "window" and not card.is_volume
    if not whole and scores[1:] != size:
        raise ParameterError(
            "the model returns scores of another size than its input, which windows and volumes need",
            received=" x ".join(map(str, scores[1:])),
            expected=" x ".join(map(str, size)),
            remedy="Add the model's own upsampling to it; for pictures, set preparation.fit to resize.",
        )


class OnnxNetwork(CardNetwork):
    """An ONNX file."""

    @property
    def opset(self) -> int | None:
        """As the file declares it."""
        return read_facts(self.opened.model_file).opset

    @property
    def description(self) -> str:
        """Name, opset and nodes."""
        count = len(onnx.load(str(self.opened.model_file), load_external_data=False).graph.node)
        return f"{self.opened.model_file.name}, opset {self.opset}, {count} nodes"

    @functools.cached_property
    def form(self) -> PortForm:
        """From the file's ports and the card."""
        model = self.card.model
        facts = read_facts(self.opened.model_file)
        shape = facts.choose_input(model.input).shape
        return find_form(
            self.opened.model_file,
            spatial_axes(self.card, len(shape) - 2 if shape else None),
            model.output,
            name=model.input,
            channels_last=model.layout == "channels_last",
            batch_axis=model.batch_axis,
            classes=len(self.card.classes) if self.card.output.kind == "label_map" else 0,
        )

    @functools.cached_property
    def runner(self) -> Runner:
        """The file in ONNX Runtime, without optimisations."""
        return FileRunner(self.opened.model_file, self.form)

    def export(self, spec: GraphSpec, path: Path) -> list[str]:
        """Rewrites the ports; a file that has them already is only given fixed sizes.

        Raises:
            GraphError: with its float16 numbers as float32, the model computes something else.
        """
        changes = write_in_form(self.opened.model_file, self.form, spec, path)
        sample = np.random.default_rng(0).standard_normal(spec.batch_shape(1), dtype=np.float32)
        unchanged = run_unchanged(self.opened.model_file, self.form, sample)
        if unchanged is not None:
            error = relative_error(self.runner.scores(sample), unchanged)
            if error > _FLOAT16_LIMIT:
                problem = "the model depends on the rounding of its float16 numbers"
                raise GraphError(problem, received=f"{error:.1e} of range", expected=f"at most {_FLOAT16_LIMIT:g}")
            changes.append(f"that changes its scores by {error:.1e} of their range")
        return changes


class TorchNetwork(CardNetwork):
    """A TorchScript archive, a torch.export archive, or a factory with a checkpoint."""

    def __init__(self, opened: OpenedCard, *, consent: bool):
        super().__init__(opened)
        self.module: OpenedModule = open_module(opened, consent=consent)

    @property
    def opset(self) -> int | None:
        """None: chosen at export."""
        return None

    @property
    def description(self) -> str:
        """Its kind and weights."""
        return self.module.weights

    @functools.cached_property
    def form(self) -> PortForm:
        """From the card, and what an archive of torch.export fixes."""
        shape = self.module.shape
        spatial = spatial_axes(self.card, len(shape) - 2 if shape else None)
        if shape is not None and len(shape) != spatial + 2:
            raise GraphError(
                f"the model's input has {len(shape)} axes",
                received=str(shape),
                expected=f"{spatial + 2}: batch, channels and {spatial} of the image",
            )
        last = self.card.model.layout == "channels_last"
        numbers = len(self.card.classes) if self.card.output.kind == "label_map" else 0
        source, target = Port(INPUT, TensorProto.FLOAT, shape), Port(OUTPUT, TensorProto.FLOAT, None)
        axis = self.card.model.batch_axis
        return PortForm(source, target, OUTPUT, spatial, last, last, axis, numbers)

    @functools.cached_property
    def runner(self) -> Runner:
        """The module in PyTorch."""
        return ModuleRunner(self.module, self.form, self.card.model.output)

    def export(self, spec: GraphSpec, path: Path) -> list[str]:
        """Exports the module as it is, then rewrites the ports."""
        count = 1 if spec.dynamic_batch else spec.batch_size
        sample = self.form.to_file(np.zeros(spec.batch_shape(count), np.float32))
        with tempfile.TemporaryDirectory() as work:
            raw = Path(work) / "raw.onnx"
            export_module(self.module, spec, sample, self.card.model.output, raw)
            return write_in_form(raw, self.form, spec, path)

    def for_tracing(self) -> torch.nn.Module:
        """The module with the ports of the cookbook, for compilers that trace it.

        Raises:
            ParameterError: its ports differ from the cookbook's.
        """
        form = self.form
        if form.channels_last or form.batch_axis or form.class_numbers:
            raise ParameterError(
                "this model can only be traced with channels first, the batch first and scores",
                remedy="Choose a target that compiles ONNX, such as cpu.",
            )
        return one_output(self.module.module, self.card.model.output)


def open_network(opened: OpenedCard, *, consent: bool = False) -> CardNetwork:
    """The network of a card; one that did not change is opened once.

    Raises:
        CookbookError: it cannot be opened; the message says what to do.
    """
    status = opened.model_file.stat()
    text = json.dumps(opened.card.model_dump(mode="json"), sort_keys=True)
    return _open(_Key(text, opened.path, opened.model_file, status.st_mtime_ns, status.st_size), opened, consent)


@dataclass(frozen=True)
class _Key:
    card: str
    path: Path
    model: Path
    changed: int
    size: int


_OPENED: dict[tuple[_Key, bool], CardNetwork] = {}


def _open(key: _Key, opened: OpenedCard, consent: bool) -> CardNetwork:
    if (key, consent) not in _OPENED:
        _OPENED.clear()  # only the newest stays in memory
        is_onnx = opened.card.model.factory is None and opened.model_file.suffix.lower() == ".onnx"
        _OPENED[key, consent] = OnnxNetwork(opened) if is_onnx else TorchNetwork(opened, consent=consent)
    return _OPENED[key, consent]
