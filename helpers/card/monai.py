"""Reads the configuration of a MONAI bundle and writes the model card that it amounts to, without MONAI.

A bundle is a folder with `configs/inference.json` (or `.yaml`) and `configs/metadata.json`
(docs.monai.io, MONAI Bundle Specification). Values that are Python expressions (`$...`) are not evaluated.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from helpers.card.schema import CASE
from helpers.errors import ParameterError
from helpers.params.yaml_file import read_yaml_mapping

# Transforms that change nothing that a card has to say.
_SILENT = {
    "LoadImage", "EnsureChannelFirst", "EnsureType", "AddChannel", "AsChannelFirst", "ToTensor", "CastToType",
    "ToDevice", "SelectItems", "DeleteItems", "SaveImage", "Invert",
}  # fmt: skip
_CONFIGS = ("inference.json", "inference.yaml", "inference.yml")


@dataclass
class Bundle:
    """The card of a bundle, as far as its configuration was understood.

    Attributes:
        folder: of the bundle.
        content: sections of the card.
        notes: lines for the head of the card.
        not_expressed: what the card cannot say, or what could not be read without MONAI.
    """

    folder: Path
    content: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    not_expressed: list[str] = field(default_factory=list)

    def card_text(self, target: Path) -> str:
        """The text of the card at a path."""
        model = self.content["model"]
        for entry in ("file", "checkpoint"):
            if entry in model:
                model[entry] = _relative(self.folder / model[entry], target)
        head = ["A model card, written by `cookbook new-card` from a MONAI bundle. CHECK: data.files, data.truth."]
        head += ["docs/model-card.md explains every entry.", *self.notes]
        head += [f"Not expressed: {line}." for line in self.not_expressed]
        lines = [f"# {line}" for line in head]
        return (
            "\n".join(lines)
            + "\n"
            + yaml.safe_dump(self.content, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
        )


def _relative(path: Path, target: Path) -> str:
    folder, resolved = target.resolve().parent, path.resolve()
    return resolved.relative_to(folder).as_posix() if resolved.is_relative_to(folder) else resolved.as_posix()


def read_bundle(folder: Path) -> Bundle:
    """The card of a bundle.

    Raises:
        ParameterError: the folder is not a bundle, or its configuration has no network.
    """
    configs = folder / "configs"
    found = next((configs / name for name in _CONFIGS if (configs / name).is_file()), None)
    metadata = configs / "metadata.json"
    if found is None or not metadata.is_file():
        raise ParameterError(
            f"{folder} is not a MONAI bundle",
            expected="configs/inference.json (or .yaml) and configs/metadata.json",
            remedy="Name the folder that holds configs/, or a model file.",
        )
    config, facts = _Config(_read(found)), _read(metadata)
    bundle = Bundle(folder, {"title": str(facts.get("name", folder.name))})
    shown = " ".join(str(facts[name]) for name in ("name", "version") if name in facts)
    bundle.notes.append(f"Bundle: {shown or folder.name}, made for MONAI {facts.get('monai_version', '(not said)')}.")
    formats = _formats(facts, config.get("network_def"))
    _add_model(bundle, config)
    _add_data(bundle, formats)
    _add_preparation(bundle, config, formats)
    _add_output(bundle, config, formats)
    return bundle


def _read(path: Path) -> dict[str, Any]:
    if path.suffix != ".json":
        return read_yaml_mapping(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParameterError(f"{path} cannot be read", received=str(error), expected="JSON") from None
    if not isinstance(content, dict):
        raise ParameterError(f"{path} cannot be read", received=type(content).__name__, expected="a mapping")
    return content


@dataclass(frozen=True)
class _Formats:
    """The formats in `network_data_format` of the metadata; unknown ones are None."""

    flat: bool
    channels: int | None
    size: tuple[int, ...] | None
    classes: tuple[str, ...]


def _formats(metadata: Mapping[str, Any], network: Any) -> _Formats:
    data = metadata.get("network_data_format", {})
    image: Mapping[str, Any] = next(iter(data.get("inputs", {}).values()), {})
    output: Mapping[str, Any] = next(iter(data.get("outputs", {}).values()), {})
    shape = image.get("spatial_shape", ())
    size = tuple(shape) if shape and all(type(side) is int for side in shape) else None
    named = output.get("channel_def", {})
    classes = tuple(str(named[key]) for key in sorted(named, key=lambda key: int(key) if str(key).isdigit() else 0))
    channels = image.get("num_channels")
    flat = len(shape) == 2 or (isinstance(network, dict) and network.get("spatial_dims") == 2)
    return _Formats(flat, channels if type(channels) is int else None, size, classes)


class _Config:
    """A configuration, with references (`@name`, `@name#part`) followed as far as they lead to plain values."""

    def __init__(self, content: Mapping[str, Any]):
        self._content = content

    def get(self, name: str) -> Any:
        """A top-level value, with the references in it followed."""
        return self.resolve(self._content.get(name))

    def resolve(self, value: Any, depth: int = 0) -> Any:
        """A value with the references in it followed; an expression stays text."""
        if depth > 20:
            return value
        if isinstance(value, dict):
            return {key: self.resolve(part, depth + 1) for key, part in value.items()}
        if isinstance(value, list):
            return [self.resolve(part, depth + 1) for part in value]
        if not isinstance(value, str):
            return value
        text = value.removeprefix("$")
        if text.startswith("@") and all(part.isidentifier() or part.isdigit() for part in _parts(text)):
            return self._follow(_parts(text), value, depth)
        if value.startswith("$"):
            try:
                return ast.literal_eval(text)
            except (ValueError, SyntaxError, MemoryError):
                return value
        return value

    def _follow(self, parts: list[str], unresolved: str, depth: int) -> Any:
        found: Any = self._content
        for part in parts:
            if isinstance(found, list) and part.isdigit() and int(part) < len(found):
                found = found[int(part)]
            elif isinstance(found, dict) and part in found:
                found = found[part]
            else:
                return unresolved
        return self.resolve(found, depth + 1)


def _parts(text: str) -> list[str]:
    return text.removeprefix("@").replace("::", "#").split("#")


def _is_expression(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("$", "@"))


def _name_of(item: Mapping[str, Any]) -> str:
    """The class of a configured object, without its module and without the d of a dictionary transform."""
    name = str(item.get("_target_", "")).rpartition(".")[2]
    for suffix in ("Dict", "D", "d"):
        if len(name) > len(suffix) and name.endswith(suffix) and name != "Threshold":
            return name.removesuffix(suffix)
    return name


def _add_model(bundle: Bundle, config: _Config) -> None:
    folder = bundle.folder / "models"
    script = next((folder / name for name in ("model.ts", "model_trt.ts") if (folder / name).is_file()), None)
    onnx = next(iter(sorted(folder.glob("*.onnx"))), None) if folder.is_dir() else None
    network = config.get("network_def")
    if onnx is not None or script is not None:
        bundle.content["model"] = {"file": f"models/{(onnx or script).name}"}  # type: ignore[union-attr]
        return
    if not isinstance(network, dict) or "_target_" not in network:
        raise ParameterError(
            f"{bundle.folder.name} has no network in configs/inference",
            expected="network_def with _target_, or models/model.ts",
            remedy="Export it with MONAI: `python -m monai.bundle ckpt_export network_def`.",
        )
    target = str(network["_target_"])
    module, _, name = target.rpartition(".")
    arguments = {key: value for key, value in network.items() if not key.startswith("_")}
    unread = [key for key, value in arguments.items() if _is_expression(value)]
    bundle.not_expressed += [f"network_def: {key} is the expression {arguments.pop(key)}" for key in unread]
    bundle.content["model"] = {
        "factory": f"{module or 'monai.networks.nets'}:{name}",
        "arguments": arguments,
        "checkpoint": "models/model.pt",
    }
    bundle.notes.append("The factory needs MONAI installed, and `-p run_factory true` as consent to run it.")
    bundle.notes.append(
        "Without MONAI: `python -m monai.bundle ckpt_export` elsewhere, then model.file: models/model.ts."
    )


def _add_data(bundle: Bundle, formats: _Formats) -> None:
    channels = formats.channels or 1
    if formats.flat:
        colour = {1: "grey", 3: "rgb"}.get(channels, "as_stored")
        bundle.content["data"] = {"kind": "picture", "files": f"{CASE}.png", "truth": None, "colour": colour}
        return
    pattern: object = f"imagesTs/{CASE}.nii.gz"
    if channels > 1:
        pattern = {f"channel_{index + 1}": f"imagesTs/{CASE}_{index:04d}.nii.gz" for index in range(channels)}
        bundle.not_expressed.append(f"one file with {channels} channels: the card takes one file per channel")
    bundle.content["data"] = {"kind": "volume", "files": pattern, "truth": None}


def _add_preparation(bundle: Bundle, config: _Config, formats: _Formats) -> None:
    preparation: dict[str, Any] = {"fit": "window", "axes": "xyz"}
    steps: list[dict[str, Any]] = []
    for item in _transforms(config.get("preprocessing")):
        name = _name_of(item)
        expressions = [key for key, value in item.items() if _is_expression(value) and not key.startswith("_")]
        if name in _SILENT or item.get("_disabled_") is True:
            continue
        made = None if expressions or name not in _TRANSFORMS else _TRANSFORMS[name](item, preparation)
        if made is None:
            why = f" ({', '.join(f'{key}: {item[key]}' for key in expressions)})" if expressions else ""
            bundle.not_expressed.append(f"preprocessing {name}{why}")
        else:
            steps += made
    _add_inferer(bundle, config.get("inferer"), preparation, formats)
    preparation["intensity"] = steps
    bundle.content["preparation"] = preparation


def _transforms(compose: Any) -> list[dict[str, Any]]:
    parts = compose.get("transforms", []) if isinstance(compose, dict) else []
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _add_inferer(bundle: Bundle, inferer: Any, preparation: dict[str, Any], formats: _Formats) -> None:
    inferer = inferer if isinstance(inferer, dict) else {}
    name = _name_of(inferer)
    if name.startswith("SlidingWindowInferer"):
        size, overlap = inferer.get("roi_size"), inferer.get("overlap", 0.25)
        overlap = overlap[0] if isinstance(overlap, list) and overlap else overlap
        preparation["tile_step_size"] = round(1 - overlap, 6) if isinstance(overlap, (int, float)) else 0.75
        preparation["gaussian"] = inferer.get("mode") == "gaussian"
        if inferer.get("padding_mode", "constant") != "constant":
            bundle.not_expressed.append(
                f"inferer padding_mode {inferer['padding_mode']}: small cases are padded with 0"
            )
        if isinstance(size, list) and all(type(side) is int and side > 0 for side in size):
            preparation["size"] = size
        else:
            bundle.not_expressed.append(f"inferer roi_size {size}")
    elif "size" not in preparation:
        preparation["fit"] = "pad"
        bundle.not_expressed.append(f"inferer {name or '(none)'}: the card pads to one size")
    if "size" not in preparation and formats.size is not None:
        preparation["size"] = list(formats.size)
    if "size" not in preparation:
        preparation["size"] = [256, 256] if formats.flat else [96, 96, 96]
        bundle.not_expressed.append("the size of the input: CHECK preparation.size")


def _add_output(bundle: Bundle, config: _Config, formats: _Formats) -> None:
    output: dict[str, Any] = {"kind": "logits", "activation": "softmax"}
    for item in _transforms(config.get("postprocessing")):
        name = _name_of(item)
        if name == "Activations" and (item.get("sigmoid") or item.get("softmax")):
            output["activation"] = "sigmoid" if item.get("sigmoid") else "softmax"
        elif name == "AsDiscrete" and (item.get("argmax") or isinstance(item.get("threshold"), float)):
            if isinstance(item.get("threshold"), float):
                output["threshold"] = item["threshold"]
        elif name not in _SILENT:
            bundle.not_expressed.append(f"postprocessing {name}")
            if name == "Lambda" and output["activation"] == "sigmoid":
                bundle.not_expressed.append("order and values of classes: CHECK, the last that is present wins")
    names = list(formats.classes) or ["background", "class_1"]
    if output["activation"] == "sigmoid" and names[0].lower() != "background":
        names = ["background", *names]
    if not formats.classes:
        bundle.not_expressed.append("the names of the classes: CHECK classes")
    bundle.content["output"] = output
    bundle.content["classes"] = {name: index for index, name in enumerate(names)}


Steps = list[dict[str, Any]]


def _orientation(item: Mapping[str, Any], preparation: dict[str, Any]) -> Steps | None:
    codes = item.get("axcodes")
    if not isinstance(codes, str) or len(codes) != 3:
        return None
    preparation["axes"] = codes.upper()
    return []


def _spacing(item: Mapping[str, Any], preparation: dict[str, Any]) -> Steps | None:
    lengths = item.get("pixdim")
    if not isinstance(lengths, list) or len(lengths) != 3 or not all(isinstance(mm, (int, float)) for mm in lengths):
        return None
    preparation["spacing_mm"] = [float(mm) for mm in lengths]
    return []


def _resize(item: Mapping[str, Any], preparation: dict[str, Any]) -> Steps | None:
    size = item.get("spatial_size")
    if not isinstance(size, list) or not all(type(side) is int and side > 0 for side in size):
        return None
    preparation |= {"fit": "resize", "size": size}
    return []


def _pad(item: Mapping[str, Any], preparation: dict[str, Any]) -> Steps | None:
    return []  # windows pad small volumes themselves


def _range(item: Mapping[str, Any], preparation: dict[str, Any]) -> Steps:
    low, high = float(item["a_min"]), float(item["a_max"])
    steps: Steps = [{"clip": [low, high]}] if item.get("clip") else []
    return [*steps, {"range": [low, high]}, *_stretch(item)]


def _percentiles(item: Mapping[str, Any], preparation: dict[str, Any]) -> Steps | None:
    if not item.get("clip") or item.get("relative"):
        return None
    step = {"low": float(item["lower"]), "high": float(item["upper"]), "per_channel": bool(item.get("channel_wise"))}
    return [{"percentiles": step}, *_stretch(item)]


def _scale(item: Mapping[str, Any], preparation: dict[str, Any]) -> Steps | None:
    if item.get("factor") is not None:
        return None
    limits = {"b_min": item.get("minv", 0.0), "b_max": item.get("maxv", 1.0)}
    step = {"low": 0.0, "high": 100.0, "per_channel": bool(item.get("channel_wise"))}
    return [{"percentiles": step}, *_stretch(limits)]


def _stretch(item: Mapping[str, Any]) -> Steps:
    """From 0..1 to another range, as (x - mean) / std."""
    low, high = item.get("b_min"), item.get("b_max")
    if low is None or high is None or (low, high) == (0, 1):
        return []
    span = float(high) - float(low)
    return [{"mean_std": {"mean": [-float(low) / span], "std": [1 / span]}}]


def _normalise(item: Mapping[str, Any], preparation: dict[str, Any]) -> Steps | None:
    mean, std = item.get("subtrahend"), item.get("divisor")
    if (mean is None) != (std is None):
        return None
    if mean is not None and std is not None:
        if item.get("nonzero"):
            return None
        numbers = [value if isinstance(value, list) else [value] for value in (mean, std)]
        return [{"mean_std": {"mean": [float(x) for x in numbers[0]], "std": [float(x) for x in numbers[1]]}}]
    step = {"per_channel": bool(item.get("channel_wise")), "nonzero": bool(item.get("nonzero"))}
    return [{"z_score": step}]


_TRANSFORMS: dict[str, Callable[[Mapping[str, Any], dict[str, Any]], Steps | None]] = {
    "Orientation": _orientation,
    "Spacing": _spacing,
    "Resize": _resize,
    "SpatialPad": _pad,
    "DivisiblePad": _pad,
    "ScaleIntensityRange": _range,
    "ScaleIntensityRangePercentiles": _percentiles,
    "ScaleIntensity": _scale,
    "NormalizeIntensity": _normalise,
}
