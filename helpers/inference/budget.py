"""RAM, disk and time of an inference, known from shapes before it starts; too much is refused with the numbers."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from helpers.errors import ResourceError
from helpers.inference.accumulator import BAND_ROWS, MOST_PENDING, SLAB_BYTES, count_lanes
from helpers.inference.window_grid import compute_steps

FLOAT_BYTES = 4
INTERPRETER_BYTES = 2 << 20  # threads, buffers of the allocator and code loaded on first use
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class InferenceRequest:
    """What is asked for; fields as the arguments of `sliding_window`.

    Args:
        shape: (C, Z, Y, X) of the prepared volume.
        window: (Z, Y, X), or (Y, X) for slices.
        max_in_flight: calls at once on the device; 0 for a plain callable.
        target_shape: (Z, Y, X) of the mask when the scores are resampled to it, as `resample_to_labels` does.
        network_bytes, seconds_per_window: of the network itself, as `calibrate` measures them.
    """

    shape: tuple[int, int, int, int]
    window: tuple[int, ...]
    classes: int
    step: float = 0.5
    mirrors: int = 1
    batch_size: int = 1
    max_in_flight: int = 0
    target_shape: tuple[int, int, int] | None = None
    network_bytes: int = 0
    seconds_per_window: float | None = None


@dataclass(frozen=True)
class Estimate:
    """Bytes above what the process holds before the volume is read, the largest first; seconds None if unknown."""

    parts: dict[str, int] = field(default_factory=dict)
    disk_bytes: int = 0
    windows: int = 0
    seconds: float | None = None

    @property
    def ram_bytes(self) -> int:
        return sum(self.parts.values())

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {count / 2**20:,.0f} MiB" for name, count in self.parts.items())
        clock = "" if self.seconds is None else f", about {self.seconds:,.0f} s"
        total = f"{self.ram_bytes / 2**20:,.0f} MiB of memory ({shares})"
        return f"{self.windows:,} windows, {total}, at most {self.disk_bytes / 2**20:,.0f} MiB on disk{clock}"


def estimate(request: InferenceRequest) -> Estimate:
    """What the request will need at its peak; arithmetic only, within ±15 % of the measured peak."""
    window = (1, *request.window) if len(request.window) == 2 else request.window
    shape = tuple(max(size, length) for size, length in zip(request.shape[1:], window, strict=True))
    steps = [len(compute_steps(size, length, request.step)) for size, length in zip(shape, window, strict=True)]
    if len(request.window) == 2:
        steps[0] = shape[0]
    windows = math.prod(steps)
    batch = min(request.batch_size, windows)
    voxels, window_voxels = math.prod(shape), math.prod(window)
    target = request.target_shape or request.shape[1:]
    volume = request.shape[0] * math.prod(request.shape[1:])
    padded = request.shape[0] * voxels if shape != tuple(request.shape[1:]) else 0
    # Read ahead, in hand, and in flight, unless a lone window is a view of the volume; of scores also those that wait
    # to be added, and a sum of mirrors.
    copied = batch > 1 or request.max_in_flight or request.mirrors > 1
    batches = 2 + request.max_in_flight * request.mirrors if copied else 0
    answers = 1 + MOST_PENDING + request.max_in_flight * request.mirrors + (2 if request.mirrors > 1 else 0)
    parts = {
        "image": FLOAT_BYTES * (volume + padded),
        "sums": FLOAT_BYTES * request.classes * shape[2] * _rows_held(request, window, shape),
        "windows": FLOAT_BYTES * (batch * batches * request.shape[0] + 1) * window_voxels,
        "scores": FLOAT_BYTES * batch * answers * request.classes * window_voxels,
        "labels": math.prod(target),
        "resampling": _resampling_bytes(request, shape),
        "network": request.network_bytes,
        "interpreter": INTERPRETER_BYTES,
    }
    parts = dict(sorted(((name, size) for name, size in parts.items() if size), key=lambda part: -part[1]))
    per_window = request.seconds_per_window
    seconds = None if per_window is None else per_window * windows * request.mirrors
    return Estimate(parts, math.prod(target), windows, seconds)


def fit(request: InferenceRequest, limit_bytes: int | None = None, folder: Path | None = None) -> InferenceRequest:
    """The request, with a smaller batch when that makes it fit.

    Args:
        limit_bytes: memory that may be used; what the machine has to give when None.
        folder: where the mask will be written; its disk is checked when given.

    Raises:
        ResourceError: too much even with a batch of one; names the numbers and what to change.
    """
    limit = available_ram_bytes() if limit_bytes is None else limit_bytes
    fitting = request
    while estimate(fitting).ram_bytes > limit and fitting.batch_size > 1:
        fitting = replace(fitting, batch_size=fitting.batch_size // 2)
    need = estimate(fitting)
    if need.ram_bytes > limit:
        raise ResourceError(
            "the inference needs more memory than there is",
            received=str(need),
            expected=f"at most {limit / 2**20:,.0f} MiB",
            remedy=_remedy(need),
        )
    free = shutil.disk_usage(folder).free if folder is not None else None
    if free is not None and need.disk_bytes > free:
        raise ResourceError(
            "the mask may not fit on the disk",
            received=f"{need.disk_bytes / 2**20:,.0f} MiB in {folder}",
            expected=f"at most {free / 2**20:,.0f} MiB free",
            remedy="Free some space or write elsewhere.",
        )
    return fitting


def calibrate(infer, channels: int, window: Sequence[int], batch_size: int = 1) -> tuple[int, float]:
    """(bytes that the network keeps, seconds a window) of one call after a first one that sets everything up."""
    import psutil

    process = psutil.Process()
    batch = np.zeros((batch_size, channels, *window), np.float32)
    before = process.memory_info().rss
    answer = infer(batch)
    start = time.perf_counter()
    answer = infer(batch)
    seconds = time.perf_counter() - start
    return max(0, process.memory_info().rss - before - answer.nbytes), seconds / batch_size


def available_ram_bytes() -> int:
    """Memory that this process can still get: the machine's, or its container's when that is less.

    Where neither /proc nor psutil tells, it is taken to be without limit.
    """
    available = _machine_bytes()
    for path in map(Path, CGROUP_LIMITS):
        text = path.read_text().strip() if path.is_file() else "max"
        if text != "max":
            held = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            available = min(available, int(text) - held)
    return available


def _machine_bytes() -> int:
    table = Path("/proc/meminfo")
    if table.is_file():
        return int(table.read_text().partition("MemAvailable:")[2].split()[0]) * 1024
    try:
        import psutil
    except ImportError:  # a box with numpy alone
        return sys.maxsize
    return psutil.virtual_memory().available


def _rows_held(request: InferenceRequest, window: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """Most rows, over all planes, whose sums are held at once: as `WindowAccumulator` takes and gives them back."""
    depth, height, _ = window
    if request.target_shape is not None:  # whole planes are handed on to be resampled
        return depth * shape[1]
    starts = list(range(shape[0])) if len(request.window) == 2 else compute_steps(shape[0], depth, request.step)
    rows = compute_steps(shape[1], height, request.step)
    most = 0
    for index, start in enumerate(starts):
        before = max(0, starts[index - 1] + depth - start) if index else 0
        after = max(0, start + depth - starts[index + 1]) if index + 1 < len(starts) else 0
        for row in rows:
            done = row // BAND_ROWS * BAND_ROWS
            reached = min(shape[1], -(-(row + height) // BAND_ROWS) * BAND_ROWS)
            most = max(most, after * done + depth * (reached - done) + before * (shape[1] - reached))
    return most


def _resampling_bytes(request: InferenceRequest, shape: tuple[int, ...]) -> int:
    """Two resampled planes of all classes in float64 and the one being made, and a slab of every thread."""
    if request.target_shape is None:
        return 0
    plane = request.classes * math.prod(request.target_shape[1:])
    slab = max(SLAB_BYTES, FLOAT_BYTES * request.classes * shape[1] * shape[2])
    return 3 * 8 * plane + 2 * count_lanes() * slab


def _remedy(need: Estimate) -> str:
    advice = {
        "sums": "Use a window that is less deep (Z), fewer classes at once, or crop to the organ",
        "scores": "Use a smaller window or fewer classes at once",
        "windows": "Use a smaller window or fewer calls in flight",
        "image": "Crop the volume, or resample it to a coarser spacing",
        "labels": "Crop the volume",
        "network": "Use a smaller window or a lower precision",
    }
    return f"{advice.get(next(iter(need.parts)), 'Crop the volume')}; or use a machine with more memory."
