"""Renamed parameters: the old name is still accepted, with one warning."""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Mapping

from helpers.errors import ParameterError

_LOG = logging.getLogger("cookbook")

# Old name -> new name.
RENAMED = {"step": "tile_step_size", "keep_precise": "fp32_layers"}


def rename_parameters(given: Mapping[str, object], known: Collection[str]) -> dict[str, object]:
    """Returns the given parameters under their current names.

    Args:
        given: values by name, from one source (a profile, a command line, a record).
        known: the current names; a renamed parameter that is not among them is left unchanged.

    Raises:
        ParameterError: a parameter is given under both names.

    >>> rename_parameters({"size": 500}, ["size"])
    {'size': 500}
    """
    content: dict[str, object] = {}
    for name, value in given.items():
        new = RENAMED.get(name, name)
        if new == name or name in known or new not in known:
            content[name] = value
            continue
        if new in given:
            raise ParameterError(f"{name} and {new} are the same parameter", remedy=f"Give {new} only.")
        _warn(name, new)
        content[new] = value
    return content


@functools.cache
def _warn(old: str, new: str) -> None:
    _LOG.warning("the parameter %s is now called %s", old, new)
