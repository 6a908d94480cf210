"""Energy of the processor by its own counters (RAPL, under Linux's powercap), where they can be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
NOT_READABLE = "not readable here"


def open_meter(root: Path = POWERCAP) -> Callable[[], float] | None:
    """A function that returns the joules since its last call, of all processor packages; None if none can be read.

    A counter starts again from zero at `max_energy_range_uj`; one such turn between two calls is allowed for.
    """
    packages = sorted(root.glob("intel-rapl:?"))  # AMD's counters have this name too; `:0:0` is a part of `:0`
    try:
        limits = [_read(package / "max_energy_range_uj") for package in packages]
        last = [_read(package / "energy_uj") for package in packages]
    except (OSError, ValueError):  # readable by root alone since 2020
        return None
    if not packages:
        return None

    def joules() -> float:
        now = [_read(package / "energy_uj") for package in packages]
        used = [
            value - old if value >= old else value + top - old
            for value, old, top in zip(now, last, limits, strict=True)
        ]
        last[:] = now
        return sum(used) / 1e6

    return joules


def _read(path: Path) -> int:
    return int(path.read_text(encoding="utf-8"))
