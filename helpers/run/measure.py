"""Seconds of named steps, and the peak of resident memory while they run."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import threading
import time
from collections.abc import Iterator

import psutil

from helpers.run.result import name_simulated

_ON_DEVICE = ("open", "infer")


def label_step(step: str, simulated: bool) -> str:
    """The label of a step of a case, marked if a simulated device was timed."""
    return name_simulated(step, simulated and step in _ON_DEVICE)


def return_memory() -> None:
    """Gives memory that was freed back to the system, where the C library keeps it for later (glibc)."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Stopwatch:
    """Seconds by step; repeated steps are summed."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Times a block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


@contextlib.contextmanager
def peak_memory(interval_s: float = 0.02) -> Iterator[dict[str, float]]:
    """Samples the resident memory of this process; the mapping holds `peak_rss_mb` after the block."""
    process, stop, result = psutil.Process(), threading.Event(), {"peak_rss_mb": 0.0}

    def sample() -> None:
        while True:
            result["peak_rss_mb"] = max(result["peak_rss_mb"], process.memory_info().rss / 1e6)
            if stop.wait(interval_s):
                return

    thread = threading.Thread(target=sample, name="peak-memory", daemon=True)
    thread.start()
    try:
        yield result
    finally:
        stop.set()
        thread.join()
        result["peak_rss_mb"] = round(result["peak_rss_mb"], 1)
