"""Parameters in YAML files and in text, read with errors that name the place, the cause and the nearest name."""

from __future__ import annotations

import datetime
import difflib
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from helpers.errors import ParameterError

_SWITCHES = {"on": True, "off": False, "true": True, "false": False}

# YAML 1.1 recognises a float only by its point and the sign of its exponent: 1e-3 and 1.0e3 are text.
_NUMBER_READ_AS_TEXT = re.compile(r"([+-]?\d+)(\.\d*)?[eE]([+-]?)(\d+)")

# The types that YAML and papermill turn some text into.
_READ_FROM_TEXT = (int, float, bool, datetime.date)

_LONGEST_FILE = 1_000_000  # characters
_MOST_NODES = 100_000  # values in a YAML text, aliases counted in full
_SHOWN_VALUE = 200  # characters of a value that was received
_SHOWN_TEXT = 40  # characters of a value in a message

# Kinds of pydantic's findings -> the expectation in plain words, from the finding's context.
_EXPECTATIONS = {
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} items",
    "too_long": "at most {max_length} items",
}


def read_yaml_mapping(path: Path) -> dict:
    """Reads the mapping in a YAML file; an empty file is an empty mapping.

    Raises:
        ParameterError: the file is missing, is not valid YAML, or is not a mapping.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(_LONGEST_FILE + 1)
    except OSError as error:
        raise ParameterError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ParameterError(f"{path.name} is not a text file", expected="YAML in UTF-8") from None
    if len(text) > _LONGEST_FILE:
        raise ParameterError(
            f"{path.name} is not a file of parameters", received=f"more than {_LONGEST_FILE:,} characters"
        )
    try:
        content = parse_yaml(text)
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        place = f", line {mark.line + 1}" if mark else ""
        raise ParameterError(f"{path.name} is not valid YAML{place}: {explain_yaml_error(error)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ParameterError(
            f"{path.name} is not a mapping",
            received=type(content).__name__,
            expected="lines of the form `name: value`",
        )
    for name in content:
        if not isinstance(name, str):
            raise ParameterError(
                f"a name in {path.name} is not text",
                received=f"{name!r} ({type(name).__name__})",
                remedy="Quote the name.",
            )
    return content


class _Loader(yaml.SafeLoader):
    """Reports a scalar that looks like a number or a date and is none, and a name that is given twice."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, IndexError, AttributeError, KeyError, OverflowError):
            kind = node.tag.rpartition(":")[2]
            text = str(node.value)
            shown = text if len(text) <= _SHOWN_TEXT else f"{text[:_SHOWN_TEXT]}…, {len(text)} characters,"
            problem = f"{shown!r} reads as {kind} and is none; quote it if it is text"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, loader: type[yaml.BaseLoader | yaml.SafeLoader] = _Loader) -> Any:
    """Reads YAML; no text makes it run code, take long or fill the memory.

    Raises:
        yaml.YAMLError: the text is not valid, nested too deeply, or repeats its aliases too often.
    """
    reader = loader(text)
    try:
        node = reader.get_single_node()
        if node is None:
            return None
        _count_nodes(node, {})
        return reader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    finally:
        reader.dispose()


def _count_nodes(node: yaml.Node, counted: dict[int, int]) -> int:
    """The number of values that a node stands for; one behind an alias counts each time."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in counted:
        counted[id(node)] = _MOST_NODES + 1  # until its parts are counted, so that a node in itself is found
        parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        counted[id(node)] = 1 + sum(_count_nodes(part, counted) for part in parts)
    if counted[id(node)] > _MOST_NODES:
        raise yaml.constructor.ConstructorError(
            None, None, f"it stands for more than {_MOST_NODES:,} values", node.start_mark
        )
    return counted[id(node)]


def explain_yaml_error(error: yaml.YAMLError) -> str:
    """The cause of an error of `parse_yaml`, without its place."""
    cause = error.problem if isinstance(error, yaml.MarkedYAMLError) else error
    return " ".join(str(cause).split())


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Finds the known name that is most similar to a mistyped one, or None if none is similar.

    >>> nearest_name("presicion", ["precision", "profile"])
    'precision'
    """
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def unknown_name_error(kind: str, name: str, known: Iterable[str], where: str = "") -> ParameterError:
    """Builds the error for an unknown name, with the nearest known one, or all of them if none is similar.

    Args:
        kind: what is named, such as a target.
        name: the unknown name.
        known: the names to choose from.
        where: the place of the name, such as "of unet3d_brats".

    >>> print(unknown_name_error("target", "cpuu", ["cpu", "cuda"]))
    unknown target 'cpuu'. Did you mean 'cpu'?
    """
    known = sorted(known)
    near = nearest_name(name, known)
    remedy = f"Did you mean {near!r}?" if near else f"Known: {', '.join(known)}."
    return ParameterError(f"unknown {kind} {name!r} {where}".rstrip(), remedy=remedy)


def takes_text(kind: object) -> bool:
    """Whether a type accepts only text, words or a list of them, so that `0001` is not a number."""
    return all(_is_text(_item_of(option)) for option in options_of(kind))


def options_of(kind: object) -> tuple[object, ...]:
    """The types that a type allows other than None."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return tuple(option for option in typing.get_args(kind) if option is not types.NoneType)
    return (kind,)


def read_text(kind: object, value: object) -> object:
    """Converts text to a list (`a,b`, `0,1`, a YAML list), a mapping (YAML) or a switch (on, off) if a type needs it.

    Any other value is returned unchanged, for the type to validate.

    Raises:
        ValueError: a list or mapping is not valid YAML; the message names what is expected.

    >>> read_text(list[str], "a, b"), read_text(list[int], "0,1"), read_text(bool, "on")
    (['a', 'b'], [0, 1], True)
    """
    options = options_of(kind)
    option = options[0] if len(options) == 1 else None
    if typing.get_origin(option) is list and not _is_text(_item_of(option)):
        return [value] if type(value) is int else split_numbers(value)
    if not isinstance(value, str):
        return value
    if typing.get_origin(option) is list:
        return _split_names(value)
    if option is bool:
        return _SWITCHES.get(value.lower(), value)
    is_mapping = typing.get_origin(option) is dict or (isinstance(option, type) and issubclass(option, BaseModel))
    return _load(value, "a YAML or JSON mapping") if is_mapping else value


def split_numbers(value: object) -> object:
    """Splits `0,1` or `[0, 1]` into a list; a part that is not a number stays text."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return _load(value, "numbers separated by commas, or a YAML list")
    return [int(part) if part.strip().isdigit() else part for part in value.split(",") if part.strip()]


def _split_names(text: str) -> object:
    if text.lstrip().startswith("["):
        # The base loader leaves every scalar as text.
        return _load(text, "names separated by commas, or a YAML list", yaml.BaseLoader)
    return [name.strip() for name in text.split(",") if name.strip()]


def _load(text: str, expected: str, loader: type[yaml.BaseLoader | yaml.SafeLoader] = _Loader) -> object:
    try:
        return parse_yaml(text, loader)
    except yaml.YAMLError:
        raise ValueError(expected) from None


def _item_of(kind: object) -> object:
    return typing.get_args(kind)[0] if typing.get_origin(kind) is list else kind


def _is_text(kind: object) -> bool:
    if typing.get_origin(kind) is typing.Literal:
        return all(isinstance(word, str) for word in typing.get_args(kind))
    return kind is str


def explain_validation_error(
    error: ValidationError,
    model: type[BaseModel],
    *,
    where: str,
    places: Mapping[str, str | None] | None = None,
    noun: str = "parameter",
) -> ParameterError:
    """Converts a validation error: the first finding, and the number of the others.

    Args:
        error: the error of pydantic.
        model: the model that was validated.
        where: the file that the values come from.
        places: name to file for values from other files; None for a value given for this run.
        noun: what a name in the file stands for.
    """
    # A mistyped name comes first: the correct one is then missing as well, but that is not the cause.
    findings = sorted(error.errors(), key=lambda finding: finding["type"] != "extra_forbidden")
    first = findings[0]
    name = ".".join(str(part) for part in first["loc"])
    place = (places or {}).get(name.partition(".")[0], where)
    if first["type"] == "extra_forbidden":
        unknown = unknown_name_error(noun, str(first["loc"][-1]), _names_next_to(model, first["loc"]))
        problem = f"unknown {noun} {name!r} in {place}" if place else f"unknown {noun} {name!r}"
        return ParameterError(problem, remedy=unknown.remedy)
    value = first.get("input")
    remedy = f"Correct {name} in {place}." if place else f"Correct the value given for {name}."
    remedy = _remedy_of_reading(value, name, model) or _remedy_of_word(first) or remedy
    if len(findings) > 1:
        remedy += f" ({_count(len(findings) - 1, 'more error')}.)"
    return ParameterError(
        f"invalid value of {name}",
        received=f"{shorten(repr(value))} ({type(value).__name__})",
        expected=_expectation(first),
        remedy=remedy,
    )


def shorten(text: str) -> str:
    """The beginning of a long text, for messages."""
    return text if len(text) <= _SHOWN_VALUE else f"{text[:_SHOWN_VALUE]}…"


def _expectation(finding: Mapping) -> str:
    if plain := _EXPECTATIONS.get(finding["type"]):
        return plain.format(**finding["ctx"])
    return finding["msg"].removeprefix("Value error, ").removeprefix("Input should be ")


def _remedy_of_reading(value: object, name: str, model: type[BaseModel]) -> str | None:
    """The remedy if YAML or papermill read text as something else."""
    if isinstance(value, str) and (number := _NUMBER_READ_AS_TEXT.fullmatch(value)):
        whole, fraction, sign, exponent = number.groups()
        return f"YAML reads {value} as text: write {whole}{fraction or '.0'}e{sign or '+'}{exponent}."
    parameter = name.partition(".")[0]
    field = model.model_fields.get(parameter)
    if field and type(value) in _READ_FROM_TEXT and takes_text(field.annotation):
        # The text is lost: 0001 became 1, 2007_000033 became 2007000033.
        return f"This parameter is text: quote it in YAML, or use papermill -r {parameter} TEXT."
    return None


def _remedy_of_word(finding: Mapping) -> str | None:
    """The remedy for a mistyped choice: the most similar one."""
    value = finding.get("input")
    if finding["type"] != "literal_error" or not isinstance(value, str):
        return None
    near = nearest_name(value, re.findall(r"'([^']*)'", finding["ctx"]["expected"]))
    return f"Did you mean {near!r}?" if near else None


def _names_next_to(model: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """The known names in the section of an unknown one, at any depth."""
    kind: object = model
    for part in place[:-1]:
        kind = _kind_of_member(kind, part)
    return list(getattr(kind, "model_fields", {}))


def _kind_of_member(kind: object, part: int | str) -> object:
    """The annotated type of a member of a model, a mapping or a list; `X | None` counts as X."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        kind = kind.model_fields[str(part)].annotation
    else:
        kind = typing.get_args(kind)[-1]
    return options_of(kind)[0]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
