"""One progress bar a long stage when someone is there, plain log lines when not."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TypeVar

from helpers.view.presence import someone_is_there

T = TypeVar("T")
_LOG = logging.getLogger("cookbook")


def show_progress(items: Sequence[T], name: str, interactive: bool | None = None) -> Iterator[T]:
    """Yields the items; a widget's frozen "0 %" would stay in a headless notebook, so none is made there."""
    if not someone_is_there(interactive):
        for index, item in enumerate(items, start=1):
            _LOG.info("%s %d of %d", name, index, len(items))
            yield item
        return
    from tqdm.auto import tqdm

    yield from tqdm(items, desc=name)
