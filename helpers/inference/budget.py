"""Estimates the memory of an inference from shapes before it starts, and refuses one that does not fit."""

from __future__ import annotations

import logging
import math
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from helpers.errors import ResourceError
from helpers.inference.accumulator import BAND_ROWS, MAX_PENDING, SLAB_BYTES, usable_cores
from helpers.inference.windows import WindowPlan, window_starts

_LOG = logging.getLogger("cookbook")
FLOAT_BYTES = 4
INTERPRETER_BYTES = 2 << 20  # threads, buffers of the allocator and code loaded on first use
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Estimate:
    """Memory above what the process holds before the volume is read.

    Args:
        parts: bytes by purpose, the largest first.
        windows: of the volume, mirrors not counted.
    """

    parts: Mapping[str, int]
    windows: int

    @property
    def ram_bytes(self) -> int:
        """Bytes of all parts together."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {count / 2**20:,.0f} MiB" for name, count in self.parts.items())
        return f"{self.windows:,} windows, {self.ram_bytes / 2**20:,.0f} MiB of memory ({shares})"


def estimate_memory(shape: Sequence[int], plan: WindowPlan, max_in_flight: int = 0) -> Estimate:
    """The peak memory of an inference; arithmetic only, within ±15 % of the measured peak.

    Args:
        shape: (C, Z, Y, X) of the prepared volume.
        plan: its windows.
        max_in_flight: calls in flight on the device; 0 for a plain function.

    >>> need = estimate_memory((1, 128, 128, 128), WindowPlan((64, 64, 64), 3))
    >>> need.windows, round(need.ram_bytes / 2**20)
    (27, 31)
    """
    channels, *source = shape
    padded = [max(size, length) for size, length in zip(source, plan.box, strict=True)]
    windows = math.prod(len(starts) for starts in window_starts(source, plan))
    batch, mirrors = min(plan.batch_size, windows), 2 ** len(plan.mirror_axes)
    volume = math.prod(source) + (math.prod(padded) if padded != source else 0)
    window = math.prod(plan.box)
    # Windows: read ahead, current and in flight, unless a lone window is a view of the volume. Scores: also those
    # that wait to be added, and the sum over mirrors.
    copied = batch > 1 or max_in_flight or mirrors > 1
    batches = 2 + max_in_flight * mirrors if copied else 0
    answers = 1 + MAX_PENDING + max_in_flight * mirrors + (2 if mirrors > 1 else 0)
    parts = {
        "image": FLOAT_BYTES * channels * volume,
        "sums": FLOAT_BYTES * plan.classes * padded[2] * _rows_held(padded, plan),
        "windows": FLOAT_BYTES * (batch * batches * channels + 1) * window,
        "scores": FLOAT_BYTES * batch * answers * plan.classes * window,
        "labels": math.prod(plan.target_shape or source),
        "resampling": _resampling_bytes(padded, plan),
        "interpreter": INTERPRETER_BYTES,
    }
    sizes = sorted(((name, size) for name, size in parts.items() if size), key=lambda part: -part[1])
    return Estimate(dict(sizes), windows)


def fit_to_memory(
    image: np.ndarray, plan: WindowPlan, max_in_flight: int = 0, limit_bytes: int | None = None
) -> WindowPlan:
    """The plan, with a smaller batch if only that fits; logs the estimate and warns of a reduction.

    Args:
        image: (C, Z, Y, X), already in memory.
        plan: its windows.
        max_in_flight: as in `estimate_memory`.
        limit_bytes: memory that may be used in addition to the image; what the machine has available when None.

    Raises:
        ResourceError: it does not fit even with a batch of one; the message gives both sizes and a remedy.
    """
    limit = image.nbytes + (available_ram_bytes() if limit_bytes is None else limit_bytes)
    fitting, need = plan, estimate_memory(image.shape, plan, max_in_flight)
    while need.ram_bytes > limit and fitting.batch_size > 1:
        fitting = replace(fitting, batch_size=fitting.batch_size // 2)
        need = estimate_memory(image.shape, fitting, max_in_flight)
    if need.ram_bytes > limit:
        raise ResourceError(
            "not enough memory for the inference",
            received=str(need),
            expected=f"at most {limit / 2**20:,.0f} MiB",
            remedy=_remedy(need),
        )
    _LOG.info("estimated inference: %s", need)
    if fitting != plan:
        message = f"batch size {plan.batch_size} does not fit in memory; using {fitting.batch_size}"
        _LOG.warning("%s", message)
        warnings.warn(message, stacklevel=3)  # a notebook shows no log
    return fitting


def check_memory_of_resampling(
    shape: Sequence[int], spacing_mm: Sequence[float], resampled: Sequence[int], limit_bytes: int | None = None
) -> None:
    """Refuses to resample a volume that would not fit in memory, before anything is computed.

    Args:
        shape: (C, Z, Y, X) of the image.
        spacing_mm: (Z, Y, X) of the image.
        resampled: (C, Z, Y, X) of the result.
        limit_bytes: memory that may be used; what the machine has available when None.

    Raises:
        ResourceError: it does not fit; the message gives both shapes and sizes.
    """
    limit = available_ram_bytes() if limit_bytes is None else limit_bytes
    channels, *sizes = resampled
    # Every channel, and between its depth and its planes the smaller of the two volumes.
    between = min(sizes[0] * math.prod(shape[2:]), shape[1] * math.prod(sizes[1:]))
    need = FLOAT_BYTES * (channels * math.prod(sizes) + between)
    if need > limit:
        spacing = " x ".join(f"{value:g}" for value in spacing_mm)
        raise ResourceError(
            "not enough memory to resample the image to the model's spacing",
            received=f"{_by(shape[1:])} voxels of {spacing} mm become {_by(sizes)}, {need / 2**20:,.0f} MiB",
            expected=f"at most {limit / 2**20:,.0f} MiB",
            remedy="Check the spacing in the file's header: it is in mm. Else crop the volume.",
        )


def check_memory_of_network(layer_bytes: int, shape: Sequence[int], limit_bytes: int | None = None) -> None:
    """Refuses to run a network whose largest layer alone would not fit in memory.

    Args:
        layer_bytes: input and output of that layer.
        shape: (N, C, ...) of the network's input.
        limit_bytes: memory that may be used; what the machine has available when None.

    Raises:
        ResourceError: it does not fit; the message gives both sizes.
    """
    limit = available_ram_bytes() if limit_bytes is None else limit_bytes
    if layer_bytes > limit:
        raise ResourceError(
            f"not enough memory for the network on an input of {_by(shape)}",
            received=f"{layer_bytes / 2**20:,.0f} MiB for its largest layer alone",
            expected=f"at most {limit / 2**20:,.0f} MiB",
            remedy="Set a smaller input size, or use a machine with more memory.",
        )


def available_ram_bytes() -> int:
    """Memory still available to this process: the machine's, or its container's if that is less.

    Without /proc and psutil it counts as unlimited.
    """
    available = _machine_bytes()
    for path in map(Path, CGROUP_LIMITS):
        text = path.read_text(encoding="utf-8").strip() if path.is_file() else "max"
        if text != "max":
            held = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
            available = min(available, int(text) - held)
    return available


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _machine_bytes() -> int:
    table = Path("/proc/meminfo")
    if table.is_file():
        return int(table.read_text(encoding="utf-8").partition("MemAvailable:")[2].split()[0]) * 1024
    try:
        import psutil
    except ImportError:  # the accelerator's machine may have numpy alone
        return sys.maxsize
    return psutil.virtual_memory().available


def _rows_held(shape: Sequence[int], plan: WindowPlan) -> int:
    """Maximum number of rows, over all planes, whose sums are held at once by `WindowAccumulator`.

    Args:
        shape: (Z, Y, X) of the padded volume.
    """
    depth, height, _ = plan.box
    if plan.target_shape is not None:  # whole planes are kept to be resampled
        return depth * shape[1]
    starts, rows, _ = window_starts(shape, plan)
    most = 0
    for index, start in enumerate(starts):
        before = max(0, starts[index - 1] + depth - start) if index else 0
        after = max(0, start + depth - starts[index + 1]) if index + 1 < len(starts) else 0
        for row in rows:
            done = row // BAND_ROWS * BAND_ROWS
            reached = min(shape[1], -(-(row + height) // BAND_ROWS) * BAND_ROWS)
            most = max(most, after * done + depth * (reached - done) + before * (shape[1] - reached))
    return most


def _resampling_bytes(shape: Sequence[int], plan: WindowPlan) -> int:
    """Two resampled planes of all classes in float64 and the one in progress, and a slab per thread."""
    if plan.target_shape is None:
        return 0
    plane = plan.classes * math.prod(plan.target_shape[1:])
    slab = max(SLAB_BYTES, FLOAT_BYTES * plan.classes * shape[1] * shape[2])
    return 3 * 8 * plane + 2 * usable_cores() * slab


def _remedy(need: Estimate) -> str:
    advice = {
        "sums": "Use a shallower window (Z), fewer classes at once, or crop to the organ",
        "scores": "Use a smaller window or fewer classes at once",
        "windows": "Use a smaller window or fewer calls in flight",
        "image": "Crop the volume, or resample it to a coarser spacing",
    }
    return f"{advice.get(next(iter(need.parts)), 'Crop the volume')}; or use a machine with more memory."
