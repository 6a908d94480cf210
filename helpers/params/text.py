"""What a parameter's type makes of text, which is all that a command line has."""

from __future__ import annotations

import types
import typing

import yaml
from pydantic import BaseModel

_SWITCHES = {"on": True, "off": False, "true": True, "false": False}


def takes_text(kind: object) -> bool:
    """Whether a type is text, one of several words, or a list of such: `0001` is no number there."""
    return all(_is_text(_item_of(option)) for option in options_of(kind))


def options_of(kind: object) -> tuple[object, ...]:
    """The types that a type allows beside None."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return tuple(option for option in typing.get_args(kind) if option is not types.NoneType)
    return (kind,)


def read_text(kind: object, value: object) -> object:
    """A list from `a,b`, `0,1`, one number or a YAML list, a mapping from YAML, a switch from on and off.

    Whatever else it is, or however wrong, comes back as it came: the type refuses it.

    Raises:
        ValueError: brackets or braces that YAML cannot read; the message says what is expected.
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
    return _load(value, "a mapping in YAML or JSON", yaml.SafeLoader) if is_mapping else value


def split_numbers(value: object) -> object:
    """`0,1` or `[0, 1]` as a list; a part that is no number stays text."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return _load(value, "numbers with commas between them, or a list in YAML", yaml.SafeLoader)
    return [int(part) if part.strip().isdigit() else part for part in value.split(",") if part.strip()]


def _split_names(text: str) -> object:
    if text.lstrip().startswith("["):
        # The base loader leaves every scalar the text it is.
        return _load(text, "names with commas between them, or a list in YAML", yaml.BaseLoader)
    return [name.strip() for name in text.split(",") if name.strip()]


def _load(text: str, expected: str, loader: type[yaml.BaseLoader | yaml.SafeLoader]) -> object:
    try:
        return yaml.load(text, Loader=loader)  # noqa: S506 (neither loader makes objects)
    except yaml.YAMLError:
        raise ValueError(expected) from None


def _item_of(kind: object) -> object:
    return typing.get_args(kind)[0] if typing.get_origin(kind) is list else kind


def _is_text(kind: object) -> bool:
    if typing.get_origin(kind) is typing.Literal:
        return all(isinstance(word, str) for word in typing.get_args(kind))
    return kind is str
