"""Lists the parameters of a recipe: name, type, value and meaning."""

from __future__ import annotations

import typing

import yaml
from pydantic import BaseModel

from helpers.params.model import RunParams
from helpers.params.yaml_file import options_of


def list_parameters(params: RunParams, heading: str) -> list[tuple[str, str, str, str]]:
    """Returns a header and one row per parameter: name, type, value, meaning with the choices.

    Args:
        params: the parameters to list.
        heading: the heading of the value column.
    """
    shown = params.model_dump(mode="json", exclude_defaults=True)
    rows = [("parameter", "type", heading, "meaning")]
    for name, field in type(params).model_fields.items():
        value = getattr(params, name)
        # Of a section, only what was set is worth the space.
        value = shown.get(name, {}) if isinstance(value, BaseModel) else value
        choices = ", ".join(_choices(field.annotation))
        meaning = f"{field.description} Choices: {choices}." if choices else str(field.description)
        rows.append((name, _describe(field.annotation), write_value(value), meaning))
    return rows


def _describe(kind: object) -> str:
    return " or ".join(_describe_one(option) for option in options_of(kind))


def _describe_one(kind: object) -> str:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        return f"list of {_describe(parts[0])}"
    if origin is typing.Literal:
        return type(parts[0]).__name__
    if origin is dict or not isinstance(kind, type) or issubclass(kind, BaseModel):
        return "dict"
    return kind.__name__


def _choices(kind: object) -> list[str]:
    """The words to choose from, for a single value or the items of a list."""
    options = [
        typing.get_args(option)[0] if typing.get_origin(option) is list else option for option in options_of(kind)
    ]
    words = [typing.get_args(option) for option in options if typing.get_origin(option) is typing.Literal]
    return [str(word) for group in words if len(group) > 1 for word in group]


def write_value(value: object) -> str:
    """Formats a value for a command line."""
    if isinstance(value, str):
        return value
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")
