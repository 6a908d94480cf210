"""Turns pydantic's findings into one clear line with the nearest name."""

from __future__ import annotations

import re

from pydantic import BaseModel, ValidationError

from helpers.errors import ParameterError
from helpers.params.yaml_file import refuse_unknown_name

# YAML 1.1 knows a float only by its point and its exponent's sign: 1e-3 and 1.0e3 are text.
_NUMBER_READ_AS_TEXT = re.compile(r"([+-]?\d+)(\.\d*)?[eE]([+-]?)(\d+)")


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
    if isinstance(value, str) and (number := _NUMBER_READ_AS_TEXT.fullmatch(value)):
        whole, fraction, sign, exponent = number.groups()
        remedy = f"YAML reads {value} as text: write {whole}{fraction or '.0'}e{sign or '+'}{exponent}."
    if len(findings) > 1:
        remedy += f" ({len(findings) - 1} more like it.)"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return ParameterError(
        f"wrong value of {name}",
        received=f"{value!r} ({type(value).__name__})",
        expected=message,
        remedy=remedy,
    )
