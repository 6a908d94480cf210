"""Says a remark on a file once per run, however often the file is read."""

from __future__ import annotations

import logging

_LOG = logging.getLogger("cookbook")
_SAID: set[str] = set()


def say_once(level: int, message: str, *values: object) -> None:
    """Logs a remark, unless this run has logged it already.

    Args:
        level: of `logging`.
        message: with a place for each value, one of which names the file.
        values: as for `logging`.
    """
    text = message % values
    if text not in _SAID:  # two threads may say it twice, which does no harm
        _SAID.add(text)
        _LOG.log(level, "%s", text)


def forget_said() -> None:
    """Starts a new run, which says everything again."""
    _SAID.clear()
