"""Turns pydantic's findings into one clear line with the nearest name."""

from __future__ import annotations

import re

from pydantic import BaseModel, ValidationError

from helpers.errors import ParameterError
from helpers.params.yaml_file import refuse_unknown_name

_NUMBER_WITHOUT_POINT = re.compile(r"[+-]?\d+[eE][+-]?\d+")


def explain_validation_error(
    error: ValidationError, model: type[BaseModel], *, where: str = "parameters"
) -> ParameterError:
    """The first finding as a ParameterError; the number of further ones is added."""
    findings = error.errors()
    first = findings[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        refusal = refuse_unknown_name("parameter", name, model.model_fields)
        return ParameterError(f"{refusal.problem} in {where}", remedy=refusal.remedy)
    value = first.get("input")
    remedy = f"Correct {name} in {where}."
    if isinstance(value, str) and _NUMBER_WITHOUT_POINT.fullmatch(value):
        mantissa, exponent = re.split("[eE]", value)
        remedy = f"YAML reads {value} as text: write {mantissa}.0e{exponent}."
    if len(findings) > 1:
        remedy += f" ({len(findings) - 1} more like it.)"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return ParameterError(
        f"wrong value of {name}",
        received=f"{value!r} ({type(value).__name__})",
        expected=message,
        remedy=remedy,
    )
