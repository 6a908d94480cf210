"""Reads a model card, with errors that a newcomer can act on, and finds the files that it names."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from helpers.card.schema import IntensityStep, ModelCard
from helpers.data.volume import VOLUME_SUFFIXES
from helpers.errors import ParameterError
from helpers.params.paths import WEIGHTS_FOLDER, find_input
from helpers.params.yaml_file import explain_validation_error, nearest_name, read_yaml_mapping

DEMO_CARD = WEIGHTS_FOLDER / "own_model_demo.yaml"
_ONE_FILE_VOLUMES = tuple(suffix for suffix in VOLUME_SUFFIXES if suffix not in (".nhdr", ".mhd"))


@dataclass(frozen=True)
class OpenedCard:
    """A card and the place of its file, from which the files in it are found."""

    card: ModelCard
    path: Path

    @property
    def model_file(self) -> Path:
        """The model file, or the checkpoint of a factory's network.

        Raises:
            ParameterError: it does not exist; the message names the nearest file.
        """
        name = self.card.model.file or self.card.model.checkpoint
        if name is None:
            raise ParameterError(
                f"{self.path.name} names no weights for its factory", remedy="Set model.checkpoint, or -p checkpoint."
            )
        path = self.path.parent / Path(name).expanduser()
        if not path.is_file():
            near = [file.name for file in path.parent.glob("*")] if path.parent.is_dir() else []
            close = difflib.get_close_matches(path.name, near, n=1)
            raise ParameterError(
                f"{self.path.name} names a model file that does not exist",
                received=str(path),
                remedy=f"Did you mean {close[0]!r}?" if close else "Paths are relative to the card.",
            )
        return path.resolve()


def open_card(name: str) -> OpenedCard:
    """Reads and checks a card.

    Args:
        name: its path, or demo.

    Raises:
        ParameterError: there is no such YAML file, or an entry is unknown, missing, or contradicts another.
    """
    path = DEMO_CARD if name == "demo" else find_input(name, parameter="card", remedy=_REMEDY)
    if path.is_dir() or path.suffix.lower() not in (".yaml", ".yml"):
        raise ParameterError(f"{path.name} is not a model card", expected="a YAML file", remedy=_REMEDY)
    return OpenedCard(parse_card(read_yaml_mapping(path), path.name), path)


_REMEDY = "`cookbook new-card MODEL` writes a first one."


def parse_card(content: dict, name: str) -> ModelCard:
    """The card in the mapping of a YAML file.

    Raises:
        ParameterError: as `open_card`.
    """
    try:
        card = ModelCard.model_validate(content)
    except ValidationError as error:
        raise _explain(error, name) from None
    for check in (_check_data, _check_preparation, _check_names):
        check(card, name)
    return card


def _explain(error: ValidationError, name: str) -> ParameterError:
    first = error.errors()[0]
    if all(finding["type"] == "missing" for finding in error.errors()):
        place = ".".join(str(part) for part in first["loc"])
        return ParameterError(f"{name} has no {place}", remedy=_MISSING.get(place, _REMEDY))
    if first["type"] in ("model_type", "dict_type"):
        place = ".".join(str(part) for part in first["loc"])
        return ParameterError(
            f"{place} in {name} is not a section",
            received=repr(first["input"]),
            expected="indented lines `name: value` below it",
        )
    return explain_validation_error(error, ModelCard, where=name, noun="entry")


_MISSING = {
    "model": "Name the model: `model: {file: model.onnx}`.",
    "data": 'Say what the cases are: `data: {kind: picture, files: "{case}.png"}`.',
    "data.kind": "Write `kind: picture` or `kind: volume`.",
    "data.files": 'Name the files of a case: `files: "images/{case}.png"`.',
    "preparation": "Say how a case gets the network's size: `preparation: {fit: resize, size: [512, 512]}`.",
    "preparation.fit": "Write `fit: resize`, letterbox, pad or window.",
    "output": "Say what comes out: `output: {kind: logits}`, probabilities or label_map.",
    "output.kind": "Write `kind: logits`, probabilities or label_map.",
    "classes": "Name the classes, the background first: `classes: {background: 0, car: 255}`.",
}


def _check_data(card: ModelCard, name: str) -> None:
    suffixes = _ONE_FILE_VOLUMES if card.is_volume else (".png",)
    suffix = card.masks.suffix
    if suffix is not None and suffix not in suffixes:
        raise _contradiction(name, "masks.suffix", suffix, f"{', '.join(suffixes)} for a {card.data.kind}")
    if card.masks.palette and card.is_volume:
        raise _contradiction(name, "masks.palette", "true", "false: only a PNG has a palette")
    if card.is_volume and card.data.colour != "rgb":
        raise _contradiction(name, "data.colour", card.data.colour, "no colour: it describes pictures")
    patterns = [*card.data.files.values(), *filter(None, [card.data.truth])]
    if card.data.truth in card.data.files.values():
        raise _contradiction(name, "data.truth", card.data.truth, "another pattern than data.files")
    wrong = [pattern for pattern in patterns if not card.is_volume and pattern.endswith(VOLUME_SUFFIXES)]
    if wrong:
        raise _contradiction(name, "data.kind", "picture", f"volume, for files such as {wrong[0]}")


def _check_preparation(card: ModelCard, name: str) -> None:
    preparation = card.preparation
    if not card.is_volume:
        if preparation.axes not in ("zyx", "xyz") or preparation.spacing_mm:
            raise _contradiction(name, "preparation", "directions or spacing_mm", "neither: they describe volumes")
        if preparation.size is not None and len(preparation.size) != 2:
            raise _contradiction(name, "preparation.size", preparation.size, "[height, width] for a picture")
    elif preparation.fit == "letterbox":
        raise _contradiction(name, "preparation.fit", "letterbox", "resize, pad or window for a volume")
    if preparation.size is not None and min(preparation.size) < 1:
        raise _contradiction(name, "preparation.size", preparation.size, "lengths of at least 1")
    if preparation.spacing_mm is not None and min(preparation.spacing_mm) <= 0:
        raise _contradiction(name, "preparation.spacing_mm", preparation.spacing_mm, "positive lengths in mm")
    if len(set(preparation.axes.translate(_SAME_AXIS))) < 3:
        raise _contradiction(name, "preparation.axes", preparation.axes, "one letter of R/L, one of A/P, one of S/I")
    if preparation.mirror_axes and preparation.fit != "window":
        raise _contradiction(
            name, "preparation.mirror_axes", preparation.mirror_axes, "none, except with fit: window"
        )
    for index, step in enumerate(preparation.intensity):
        _check_step(card, step, f"preparation.intensity, step {index + 1}", name)


_SAME_AXIS = str.maketrans("LPI", "RAS")


def _check_step(card: ModelCard, step: IntensityStep, place: str, name: str) -> None:
    for key in ("range", "clip"):
        pair = getattr(step, key)
        if pair is not None and pair[0] >= pair[1]:
            raise _contradiction(name, f"{place}: {key}", pair, "[low, high], the lower number first")
    if step.percentiles is not None and step.percentiles.low >= step.percentiles.high:
        raise _contradiction(name, f"{place}: percentiles", f"low {step.percentiles.low}", "low below high")
    if step.mean_std is None:
        return
    for key, numbers in (("mean", step.mean_std.mean), ("std", step.mean_std.std)):
        channels = count_channels(card)
        if channels is not None and len(numbers) not in (1, channels):
            wanted = f"1 number, or {channels}: one per channel" if channels > 1 else "1 number"
            raise _contradiction(name, f"{place}: {key}", f"{len(numbers)} numbers", wanted)
    if min(step.mean_std.std) <= 0:
        raise _contradiction(name, f"{place}: std", step.mean_std.std, "positive numbers")


def _check_names(card: ModelCard, name: str) -> None:
    foreground = list(card.foreground)
    for key in card.data.truth_values:
        if key not in card.classes:
            raise _unknown_class(name, f"data.truth_values: {key}", key, list(card.classes))
    for region, members in card.scores.regions.items():
        for key in members:
            if key not in foreground:
                raise _unknown_class(name, f"scores.regions: {region}", key, foreground)
        if region in card.classes:
            raise _contradiction(name, "scores.regions", region, "a name that no class has")
    taken: dict[int, str] = {}
    for key, values in true_values(card).items():
        for value in values:
            if taken.setdefault(value, key) != key or value in card.data.ignore:
                raise _contradiction(name, "data.truth_values", f"{value} for {key}", "a value of its own per class")


def _unknown_class(name: str, place: str, key: str, known: list[str]) -> ParameterError:
    near = nearest_name(key, known)
    remedy = f"Did you mean {near!r}?" if near else f"Known: {', '.join(known)}."
    return ParameterError(f"unknown class {key!r} in {name} ({place})", remedy=remedy)


def _contradiction(name: str, place: str, received: object, expected: str) -> ParameterError:
    return ParameterError(f"{place} in {name} cannot be used", received=received, expected=expected)


def true_values(card: ModelCard) -> dict[str, list[int]]:
    """The values of each class in the true masks."""
    return {key: card.data.truth_values.get(key, [value]) for key, value in card.classes.items()}


def count_channels(card: ModelCard) -> int | None:
    """Channels of the prepared image; None if only the files show it."""
    files = len(card.data.files)
    if card.is_volume or files > 1:
        return files
    return {"rgb": 3, "bgr": 3, "grey": 1, "as_stored": None}[card.data.colour]
