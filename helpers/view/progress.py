"""One progress bar a long stage when someone is there, plain log lines when not."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar


def is_interactive(override: bool | None = None) -> bool:
    """True in a JupyterLab kernel, False under papermill; `override` (the parameter `interactive`) decides first.

    Jupyter sets JPY_SESSION_NAME for kernels that belong to an open notebook; headless runners do not.
    """
    return "JPY_SESSION_NAME" in os.environ if override is None else override


T = TypeVar("T")
_LOG = logging.getLogger("cookbook")
_LOG_EVERY_S = 10.0


def show_progress(items: Sequence[T], name: str, interactive: bool | None = None) -> Iterator[T]:
    """Yields the items; a widget's frozen "0 %" would stay in a headless notebook, so none is made there."""
    if not is_interactive(interactive):
        for index, item in enumerate(items, start=1):
            _LOG.info("%s %d of %d", name, index, len(items))
            yield item
        return
    from tqdm.auto import tqdm

    yield from tqdm(items, desc=name)


@contextlib.contextmanager
def report_progress(name: str, interactive: bool | None = None) -> Iterator[Callable[[str], None]]:
    """Gives a function that shows one line at a time: in place when someone is there, in the log when not."""
    if not is_interactive(interactive):
        yield _every(_LOG_EVERY_S, lambda line: _LOG.info("%s: %s", name, line))
        return
    from tqdm.auto import tqdm

    with tqdm(desc=name, bar_format="{desc}") as shown:
        yield lambda line: shown.set_description_str(f"{name}: {line}")


def _every(seconds: float, show: Callable[[str], None]) -> Callable[[str], None]:
    """The function, called at most once in so many seconds."""
    last = time.monotonic()

    def show_now_and_then(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            show(line)

    return show_now_and_then
