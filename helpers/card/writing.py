"""Writes a first model card from what a model file says about itself, with a comment on every guess."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from helpers.card.onnx_file import OnnxFacts, read_facts
from helpers.card.ports import Port
from helpers.card.schema import CASE
from helpers.card.torch_file import OpenedModule, open_script_or_export, run_module
from helpers.errors import CookbookError, GraphError, ParameterError, last_line
from helpers.graph.read import open_reference

MODEL_SUFFIXES = (".onnx", ".pt", ".ts", ".pth", ".pt2")
_CHECK = "CHECK: "
_COLUMN = 44  # of the comments
_SIZES = {2: (256, 256), 3: (96, 96, 96)}  # tried for a model of any size
_FEW = 16  # channels at most, when the layout is guessed
_ENDINGS = {"Softmax": "probabilities", "Sigmoid": "probabilities", "HardSigmoid": "probabilities"}
_LABEL_ENDINGS = ("ArgMax", "Greater", "GreaterOrEqual", "Less", "Equal", "Where")


@dataclass(frozen=True)
class ModelFacts:
    """What a first card is written from.

    Attributes:
        lines: the model's own facts, for the head of the card.
        spatial: number of spatial axes.
        channels_last: whether the axes are (N, ..., C).
        channels: of the input.
        size: of the input; an axis of any length is None.
        ending: op that makes the output; empty if unknown.
        scores: channels of the output; None for a label map, or if unknown.
        notes: entry of the card to a comment.
    """

    lines: tuple[str, ...]
    spatial: int
    channels_last: bool
    channels: int | None
    size: tuple[int | None, ...]
    ending: str
    scores: int | None
    notes: Mapping[str, str] = field(default_factory=dict)


def write_card(model: Path, target: Path) -> str:
    """The text of a first card for a model file.

    Args:
        model: an ONNX file, or an archive of TorchScript or torch.export, which is opened and run once.
        target: where the card will be, from which the model is named.

    Raises:
        CookbookError: the file is not a model of one of these kinds.
    """
    if model.suffix.lower() not in MODEL_SUFFIXES:
        raise ParameterError(
            f"{model.name} is not a model file",
            expected=f"{', '.join(MODEL_SUFFIXES)}, or the folder of a MONAI bundle",
        )
    facts = onnx_facts(model) if model.suffix.lower() == ".onnx" else module_facts(model)
    return card_text(facts, _relative(model, target), model.stem)


def _relative(model: Path, target: Path) -> str:
    folder = target.resolve().parent
    resolved = model.resolve()
    return resolved.relative_to(folder).as_posix() if resolved.is_relative_to(folder) else resolved.as_posix()


def onnx_facts(path: Path) -> ModelFacts:
    """The facts of an ONNX file."""
    facts = read_facts(path)
    source, target = facts.choose_input(None), facts.choose_output(None)
    if source.shape is None or len(source.shape) not in (4, 5):
        raise GraphError(
            f"{path.name} does not take an image",
            received=str(source),
            expected="(N, C, H, W) or (N, C, D, H, W), in either order of the axes",
        )
    spatial, last = len(source.shape) - 2, _is_channels_last(source)
    channels = source.shape[-1] if last else source.shape[1]
    size = source.shape[1:-1] if last else source.shape[2:]
    made = _run_once(path, facts, source)
    axes = made if made is not None else target.shape
    scores = None
    if axes is not None and len(axes) == spatial + 2:
        scores = axes[-1] if last else axes[1]
    ending = facts.endings[target.name]
    lines = [f"opset {facts.opset}; input {source}", f"output {target}, made by {ending or 'an unknown op'}"]
    lines += [f"further output {port}, made by {facts.endings[port.name]}" for port in facts.outputs[1:]]
    lines += [f"operators of {', '.join(facts.domains)}, which few compilers know"] if facts.domains else []
    notes = {"output": "further outputs are left out"} if len(facts.outputs) > 1 else {}
    return ModelFacts(tuple(lines), spatial, last, channels, size, ending, scores, notes)


def _is_channels_last(port: Port) -> bool:
    """Whether the last axis is fixed and short, and the second one is longer by far or not fixed."""
    axes = port.shape or ()
    first, last = axes[1], axes[-1]
    return last is not None and last <= _FEW and (first is None or first > 2 * last)


def _run_once(path: Path, facts: OnnxFacts, source: Port) -> tuple[int, ...] | None:
    """The shape of the first output for zeros of the model's size, or of a usual one; None if it cannot run so."""
    axes = source.shape or ()
    usual = iter(_SIZES[len(axes) - 2])
    last = _is_channels_last(source)
    spatial = range(1, len(axes) - 1) if last else range(2, len(axes))
    shape = [axis or 1 for axis in axes]
    for index in spatial:
        shape[index] = axes[index] or next(usual)
    channel = len(axes) - 1 if last else 1
    shape[channel] = axes[channel] or 3
    try:
        session = open_reference(path)
        (output,) = session.run([facts.outputs[0].name], {source.name: np.zeros(shape, source.dtype)})
    except Exception:
        return None
    return tuple(output.shape)


def module_facts(path: Path) -> ModelFacts:
    """The facts of an archive of torch: its first layer has the channels, and a trial run the classes.

    Raises:
        GraphError: it has no convolution.
    """
    if path.suffix.lower() != ".pt2" and not zipfile.is_zipfile(path):
        raise ParameterError(f"{path.name} is not a torch archive", remedy="Save the network as TorchScript or ONNX.")
    opened = open_script_or_export(path)
    kernels = [tensor for tensor in opened.module.state_dict().values() if tensor.ndim in (4, 5)]
    if not kernels:
        raise GraphError(f"{path.name} has no convolution", remedy="Write the card by hand: docs/model-card.md.")
    spatial = kernels[0].ndim - 2
    fixed = opened.shape or (None, int(kernels[0].shape[1]), *(None,) * spatial)
    scores, trial = _try_sizes(opened, fixed)
    head = f"{opened.kind}, {opened.weights}; torch opened it and ran the program in it"
    lines = [head, f"first kernel {tuple(kernels[0].shape)}", trial]
    return ModelFacts(tuple(lines), spatial, False, fixed[1], tuple(fixed[2:]), "", scores)


def _try_sizes(opened: OpenedModule, fixed: Sequence[int | None]) -> tuple[int | None, str]:
    usual = iter(_SIZES[len(fixed) - 2])
    shape = [fixed[0] or 1, fixed[1] or 1, *(axis or next(usual) for axis in fixed[2:])]
    try:
        made = run_module(opened, np.zeros(shape, np.float32), None)
    except CookbookError as error:
        return None, f"a trial with {shape} failed: {last_line(str(error.received))[:80]}"
    return (made.shape[1] if made.ndim == len(shape) else None), f"a trial: {tuple(shape)} became {tuple(made.shape)}"


@dataclass
class _Text:
    """Lines of YAML with comments in one column."""

    lines: list[str] = field(default_factory=list)

    def add(self, line: str, comment: str = "") -> None:
        self.lines.append(f"{line:<{_COLUMN - 2}}  # {comment}" if comment else line)

    def value(self, name: str, value: object, comment: str = "", indent: int = 2) -> None:
        text = yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True).removesuffix("\n...\n")
        self.add(f"{' ' * indent}{name}: {text.strip()}", comment)


def card_text(facts: ModelFacts, file: str, title: str) -> str:
    """The text of a card for a model of these facts."""
    text = _Text()
    text.add("# A first model card, written by `cookbook new-card`. A line with CHECK is a guess: correct it.")
    text.add("# docs/model-card.md explains every entry.")
    for line in facts.lines:
        text.add(f"# Model: {line}.")
    text.value("title", title, indent=0)
    text.add("model:")
    text.value("file", file, "relative to this card")
    if facts.channels_last:
        text.value("layout", "channels_last", f"{_CHECK}the last axis is the shortest")
    if "output" in facts.notes:
        text.value("output", 0, f"{_CHECK}{facts.notes['output']}")
    _add_data(text, facts)
    _add_preparation(text, facts)
    _add_output(text, facts)
    text.add("scores:")
    text.value("per_class", ["Dice", "IoU"])
    return "\n".join(text.lines) + "\n"


def _add_data(text: _Text, facts: ModelFacts) -> None:
    flat = facts.spatial == 2
    suffix = ".png" if flat else ".nii.gz"
    text.add("data:")
    comment = f"{facts.spatial} spatial axes" if not flat else "volume for slices of .nii.gz files"
    text.value("kind", "picture" if flat else "volume", comment)
    where = f"{_CHECK}below data_root, {CASE} is the name of a case"
    several = 0 if facts.channels in (None, 1) or (flat and facts.channels == 3) else facts.channels or 0
    if not several:
        text.value("files", f"images/{CASE}{suffix}", where)
    else:
        text.add("  files:", f"{_CHECK}one file per channel, in the model's order")
        for index in range(several):
            text.value(f"channel_{index + 1}", f"images/{CASE}_{index:04d}{suffix}", indent=4)
    text.value("truth", None, f'{_CHECK}true masks, such as "masks/{CASE}{suffix}"; null: none')
    if flat and facts.channels in (1, 3):
        colour = "grey" if facts.channels == 1 else "rgb"
        comment = "one channel" if facts.channels == 1 else f"{_CHECK}bgr for a model trained with OpenCV's order"
        text.value("colour", colour, comment)


def _add_preparation(text: _Text, facts: ModelFacts) -> None:
    flat = facts.spatial == 2
    text.add("preparation:")
    if flat:
        text.value("fit", "resize", f"{_CHECK}resize, letterbox, pad or window")
    else:
        text.value("fit", "window", f"{_CHECK}window (sliding), resize or pad")
    usual = _SIZES[facts.spatial]
    size = [axis or default for axis, default in zip(facts.size, usual, strict=True)]
    fixed = None not in facts.size
    text.value(
        "size", size, "fixed in the model" if fixed else f"{_CHECK}the model takes any size: what was it trained at?"
    )
    if not flat:
        text.value("axes", "zyx", f"{_CHECK}zyx (slices first), xyz (as nibabel reads), or such as RAS")
        text.value("spacing_mm", None, f"{_CHECK}spacing that the model was trained at; null: as stored")
        text.value("tile_step_size", 0.5, "1 - overlap of the windows")
    text.add("  intensity: []", f"{_CHECK}steps from stored values to the input, in order, such as")
    examples = ["range: [0, 255]", "mean_std: {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}"]
    volumes = [
        "z_score: {nonzero: true}",
        "percentiles: {low: 0.5, high: 99.5}",
        "ct_window: {centre: 40, width: 400}",
    ]
    for example in examples if flat else volumes:
        text.add(f"  #  - {example}")


def _add_output(text: _Text, facts: ModelFacts) -> None:
    text.add("output:")
    kind, comment = _output_kind(facts)
    text.value("kind", kind, comment)
    sigmoid = facts.ending in ("Sigmoid", "HardSigmoid") or facts.scores == 1
    if facts.ending in _ENDINGS or facts.scores == 1:
        of = "one channel: the background has none" if facts.scores == 1 else f"as the model ends in {facts.ending}"
        text.value("activation", "sigmoid" if sigmoid else "softmax", of)
    if sigmoid:
        text.value("threshold", 0.5, "probability above which a class is present")
    count = (facts.scores or (1 if sigmoid else 2)) + (1 if sigmoid else 0)
    unknown = "" if facts.scores else "; how many the model knows could not be read from it"
    text.add("classes:", f"{_CHECK}name: value in masks; the background first{unknown}")
    text.value("background", 0)
    for index in range(1, count):
        text.value(f"class_{index}", index)


def _output_kind(facts: ModelFacts) -> tuple[str, str]:
    if facts.ending in _LABEL_ENDINGS:
        return "label_map", f"the model ends in {facts.ending}"
    if facts.ending in _ENDINGS:
        return _ENDINGS[facts.ending], f"the model ends in {facts.ending}"
    known = f"the model ends in {facts.ending}" if facts.ending else "the model's last op is not visible"
    return "logits", f"{_CHECK}{known}; probabilities, or label_map?"
