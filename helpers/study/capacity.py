"""How many devices a work list needs, from a measured latency."""

from __future__ import annotations

import math
from dataclasses import dataclass

_DAY_H = 24.0


@dataclass(frozen=True)
class Capacity:
    """The work of a day and the devices for it.

    Attributes:
        case_s: seconds of a case on one device.
        cases_per_day: of one device that is never idle.
        devices: that finish the list in the given hours.
        list_h: hours of the whole list on these devices.
    """

    case_s: float
    cases_per_day: float
    devices: int
    list_h: float


def plan_capacity(
    *, latency_ms: float, samples: int, cases: int, batch: int = 1, other_s: float = 0.0, hours: float = _DAY_H
) -> Capacity:
    """Plans devices for a list of cases; a case runs on one device, and a device runs one case after the other.

    Args:
        latency_ms: of one call.
        samples: windows of a case times its mirrored passes.
        cases: of the list.
        batch: samples per call; a last, partial call takes as long as a full one.
        other_s: seconds of a case during which the device waits: reading, resampling, writing.
        hours: in which the list must be finished.

    Raises:
        ValueError: a case alone takes longer than the hours, so that no number of devices suffices.

    The liver sample: 343 windows with 8 mirrored passes at 4249.14 ms, for 27 cases. Its "2 to 4 days" are those of
    one chip; the four chips of its card need a day.

    >>> one = plan_capacity(latency_ms=4249.14, samples=343 * 8, cases=27, hours=96)
    >>> round(one.case_s / 3600, 2), one.devices, round(one.list_h / 24, 1)
    (3.24, 1, 3.6)
    >>> day = plan_capacity(latency_ms=4249.14, samples=343 * 8, cases=27, hours=24)
    >>> day.devices, round(day.list_h, 1)
    (4, 22.7)
    """
    case_s = math.ceil(samples / batch) * latency_ms / 1e3 + other_s
    in_time = math.floor(hours * 3600 / case_s + 1e-9)
    if in_time < 1:
        raise ValueError(f"a case takes {case_s / 3600:.2f} h")
    devices = math.ceil(cases / in_time)
    return Capacity(case_s, _DAY_H * 3600 / case_s, devices, math.ceil(cases / devices) * case_s / 3600)
