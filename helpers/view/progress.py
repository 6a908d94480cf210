"""Progress of long work: a bar in an open notebook, plain log lines in a headless run."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from helpers.run.case_status import show_duration

_LOG = logging.getLogger("cookbook")
_LOG_INTERVAL_S = 10.0
_WORTH_SAYING_S = 10.0
T = TypeVar("T")


def is_interactive(override: bool | None = None) -> bool:
    """Whether a user is present: True in a JupyterLab kernel, False under papermill.

    Jupyter sets JPY_SESSION_NAME for kernels of an open notebook; headless runners do not.

    Args:
        override: the parameter `interactive`, which takes precedence.
    """
    return "JPY_SESSION_NAME" in os.environ if override is None else override


def show_progress(items: Sequence[T], name: str, interactive: bool | None = None) -> Iterator[T]:
    """Yields the items with a progress bar, or a log line each; a saved headless notebook would keep a bar at 0 %."""
    if not is_interactive(interactive):
        started = time.monotonic()
        for index, item in enumerate(items, start=1):
            left = (time.monotonic() - started) / (index - 1) * (len(items) - index + 1) if index > 1 else None
            about = f", about {show_duration(left)} left" if left is not None and left >= _WORTH_SAYING_S else ""
            _LOG.info("%s %d of %d%s", name, index, len(items), about)
            yield item
        return
    from tqdm.auto import tqdm

    yield from tqdm(items, desc=name)


@contextlib.contextmanager
def report_progress(name: str, interactive: bool | None = None) -> Iterator[Callable[[str], None]]:
    """Yields a function that reports one line: always in the same place in a notebook, at intervals in the log."""
    if not is_interactive(interactive):
        yield _limit_rate(_LOG_INTERVAL_S, lambda line: _LOG.info("%s: %s", name, line))
        return
    from tqdm.auto import tqdm

    with tqdm(desc=name, bar_format="{desc}") as shown:
        yield lambda line: shown.set_description_str(f"{name}: {line}")


def _limit_rate(interval_s: float, report: Callable[[str], None]) -> Callable[[str], None]:
    """Drops lines that come less than `interval_s` after the last one that was reported."""
    last = time.monotonic()

    def report_if_due(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= interval_s:
            last = time.monotonic()
            report(line)

    return report_if_due
