"""A run as a worker of another process sees it: it begins stages, and the process that owns the run commits them."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

from helpers.params.model import RunParams
from helpers.params.paths import place_output
from helpers.run.record import read_record
from helpers.run.run import Run
from helpers.run.store import Store


class WorkerRun(Run):
    """Only its store is written: neither the record nor the folder of the run changes.

    Args:
        params, folder: of the run.

    Raises:
        DataError: this machine does not see the run's record.
    """

    def __init__(self, params: RunParams, folder: Path):
        self.params, self.folder = params, folder
        self.store = Store(place_output(params.outputs) / ".store")
        self.results, self.made, self.taken, self.illustrations = {}, set(), {}, {}
        self._lock = threading.Lock()
        self.record = _ReadRecord(read_record(folder))  # type: ignore[assignment]  # the part that a begun stage uses


class _ReadRecord:
    """The record of a run that another process writes."""

    def __init__(self, content: dict[str, Any]):
        self._content = content

    def field(self, name: str) -> Any:
        """One top-level field, or None."""
        return self._content.get(name)

    def running(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Nothing: the owner of the run lists what is running."""
        return contextlib.nullcontext()
