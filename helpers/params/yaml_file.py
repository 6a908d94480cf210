"""Reads one YAML file of parameters, with errors that name the file and the line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import yaml

from helpers.errors import ParameterError


def read_yaml_mapping(path: Path) -> dict:
    """The mapping in a YAML file (an empty file is an empty mapping).

    Raises:
        ParameterError: the file is missing, is no YAML or holds something else than a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ParameterError(f"cannot read {path}", received=error.strerror) from None
    except UnicodeDecodeError:
        raise ParameterError(f"{path.name} is no text", expected="YAML in UTF-8") from None
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}" if mark else "unknown line"
        cause = getattr(error, "problem", None) or str(error)
        raise ParameterError(f"{path.name} is no YAML", received=f"{cause} at {place}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ParameterError(
            f"{path.name} holds no parameters", received=type(content).__name__, expected="name: value lines"
        )
    for name in content:
        if not isinstance(name, str):
            raise ParameterError(
                f"{path.name} has a name that YAML reads as no text",
                received=f"{name!r} ({type(name).__name__})",
                remedy="Write the name in quotes.",
            )
    return content


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name most like a mistyped one, or None when nothing is near."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def refuse_unknown_name(kind: str, name: str, known: Iterable[str]) -> ParameterError:
    """The error for an unknown name: the nearest known one, or all of them when nothing is near."""
    known = sorted(known)
    near = nearest_name(name, known)
    remedy = f"Did you mean {near!r}?" if near else f"Known: {', '.join(known)}."
    return ParameterError(f"unknown {kind} {name!r}", remedy=remedy)
