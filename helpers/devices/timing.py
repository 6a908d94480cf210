"""Seconds of a device's calls, step by step where its runtime tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CallTiming:
    """One call that succeeded.

    Attributes:
        samples: of the caller; a partial batch was padded beyond them.
        batch: that ran.
        call_s: from the feeds to the outputs in this process, with everything in between: waiting for a free place
            on the device, copies, a worker's messages, a second try.
        h2d_s, execute_s, d2h_s: copy to the device, execution, copy back, by the host's clock; None where the runtime
            does not tell them apart.
        device: the chip's number in a pool, else 0.
    """

    samples: int
    batch: int
    call_s: float
    h2d_s: float | None = None
    execute_s: float | None = None
    d2h_s: float | None = None
    device: int = 0

    @classmethod
    def of(cls, samples: int, batch: int, call_s: float, steps: Mapping[str, float]) -> CallTiming:
        """From a session's `seconds`, which may be empty."""
        return cls(samples, batch, call_s, steps.get("h2d"), steps.get("execute"), steps.get("d2h"))
