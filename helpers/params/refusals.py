"""Turns pydantic's findings into one clear line with the nearest name."""

from __future__ import annotations

import datetime
import re
import typing
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ValidationError

from helpers.errors import ParameterError
from helpers.params.text import options_of, takes_text
from helpers.params.yaml_file import nearest_name, refuse_unknown_name

# YAML 1.1 knows a float only by its point and its exponent's sign: 1e-3 and 1.0e3 are text.
_NUMBER_READ_AS_TEXT = re.compile(r"([+-]?\d+)(\.\d*)?[eE]([+-]?)(\d+)")

# What YAML and papermill make of text that looks like it.
_READ_FROM_TEXT = (int, float, bool, datetime.date)


def explain_validation_error(
    error: ValidationError, model: type[BaseModel], *, where: str, places: Mapping[str, str | None] | None = None
) -> ParameterError:
    """The first finding as a ParameterError; the number of further ones is added.

    Args:
        error: what pydantic found.
        model: what it was asked to read.
        where: the file that the values come from.
        places: other files that single ones come from, by name; None for a value given for this run.
    """
    # A mistyped name comes first: the right one is then missing too, but that is not the cause.
    findings = sorted(error.errors(), key=lambda finding: finding["type"] != "extra_forbidden")
    first = findings[0]
    name = ".".join(str(part) for part in first["loc"])
    place = (places or {}).get(name.partition(".")[0], where)
    if first["type"] == "extra_forbidden":
        refusal = refuse_unknown_name("parameter", str(first["loc"][-1]), _names_beside(model, first["loc"]))
        problem = f"unknown parameter {name!r} in {place}" if place else f"unknown parameter {name!r}"
        return ParameterError(problem, remedy=refusal.remedy)
    value = first.get("input")
    remedy = f"Correct {name} in {place}." if place else f"Correct the value you gave for {name}."
    remedy = _remedy_of_reading(value, name, model) or _remedy_of_word(first) or remedy
    if len(findings) > 1:
        remedy += f" ({len(findings) - 1} more like it.)"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return ParameterError(
        f"wrong value of {name}",
        received=f"{value!r} ({type(value).__name__})",
        expected=message,
        remedy=remedy,
    )


def _remedy_of_reading(value: object, name: str, model: type[BaseModel]) -> str | None:
    """What to write where YAML or papermill read something else than was meant."""
    if isinstance(value, str) and (number := _NUMBER_READ_AS_TEXT.fullmatch(value)):
        whole, fraction, sign, exponent = number.groups()
        return f"YAML reads {value} as text: write {whole}{fraction or '.0'}e{sign or '+'}{exponent}."
    parameter = name.partition(".")[0]
    field = model.model_fields.get(parameter)
    if field and type(value) in _READ_FROM_TEXT and takes_text(field.annotation):
        # The text is lost: 0001 came as 1, 2007_000033 as 2007000033.
        return f"Text is meant: in YAML put it in quotes, with papermill write -r {parameter} TEXT."
    return None


def _remedy_of_word(finding: Mapping) -> str | None:
    """The word that a mistyped one is most like."""
    value = finding.get("input")
    if finding["type"] != "literal_error" or not isinstance(value, str):
        return None
    near = nearest_name(value, re.findall(r"'([^']*)'", finding["ctx"]["expected"]))
    return f"Did you mean {near!r}?" if near else None


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
    return options_of(kind)[0]
