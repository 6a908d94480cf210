"""Turns pydantic's findings into one clear line with the nearest name."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Sequence

from pydantic import BaseModel, ValidationError

from helpers.errors import ParameterError
from helpers.params.yaml_file import nearest_name, refuse_unknown_name

# YAML 1.1 knows a float only by its point and its exponent's sign: 1e-3 and 1.0e3 are text.
_NUMBER_READ_AS_TEXT = re.compile(r"([+-]?\d+)(\.\d*)?[eE]([+-]?)(\d+)")


def explain_validation_error(
    error: ValidationError, model: type[BaseModel], *, where: str = "parameters"
) -> ParameterError:
    """The first finding as a ParameterError; the number of further ones is added."""
    # A mistyped name comes first: the right one is then missing too, but that is not the cause.
    findings = sorted(error.errors(), key=lambda finding: finding["type"] != "extra_forbidden")
    first = findings[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        refusal = refuse_unknown_name("parameter", str(first["loc"][-1]), _names_beside(model, first["loc"]))
        return ParameterError(f"unknown parameter {name!r} in {where}", remedy=refusal.remedy)
    value = first.get("input")
    remedy = f"Correct {name} in {where}."
    if isinstance(value, str) and (number := _NUMBER_READ_AS_TEXT.fullmatch(value)):
        whole, fraction, sign, exponent = number.groups()
        remedy = f"YAML reads {value} as text: write {whole}{fraction or '.0'}e{sign or '+'}{exponent}."
    if first["type"] == "literal_error" and isinstance(value, str):
        near = nearest_name(value, re.findall(r"'([^']*)'", first["ctx"]["expected"]))
        remedy = f"Did you mean {near!r}?" if near else remedy
    if len(findings) > 1:
        remedy += f" ({len(findings) - 1} more like it.)"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return ParameterError(
        f"wrong value of {name}",
        received=f"{value!r} ({type(value).__name__})",
        expected=message,
        remedy=remedy,
    )


def _names_beside(model: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """The names that the section of an unknown one knows, however deep it lies."""
    kind: object = model
    for part in place[:-1]:
        kind = _kind_of_member(kind, part)
    return list(getattr(kind, "model_fields", {}))


def _kind_of_member(kind: object, part: int | str) -> object:
    """What is annotated for one member of a model, a mapping or a list; `X | None` counts as X."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        kind = kind.model_fields[str(part)].annotation
    else:
        kind = typing.get_args(kind)[-1]
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        kind = next(option for option in typing.get_args(kind) if option is not types.NoneType)
    return kind
