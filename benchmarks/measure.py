"""Seconds and peak memory of one piece of work in this process, and the machine it ran on."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

STATUS = Path("/proc/self/status")
PACKAGES = ("numpy", "numba", "scipy", "torch", "openvino", "onnxruntime", "nncf", "monai", "nnunetv2")


def measure(work: Callable[[], object]) -> dict[str, float]:
    """Seconds by the clock and of CPU, and MB of peak resident memory above what was resident at the start (Linux).

    The work is done twice. The first time gives the peak; the second the times, because the first also waits for
    memory that a virtual machine has to ask its host for. CPU seconds hardly change with other load on the machine;
    seconds by the clock do.
    """
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forgets the earlier peak
    start_mb = _status_mb("VmRSS")
    first_seconds, _ = _timed(work)
    peak_mb = _status_mb("VmHWM") - start_mb
    seconds, cpu_seconds = _timed(work)
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "first_seconds": first_seconds, "peak_mb": peak_mb}


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    start, cpu_start = time.perf_counter(), time.process_time()
    kept = work()  # lives until the clocks have stopped: giving memory back is not part of the work
    figures = time.perf_counter() - start, time.process_time() - cpu_start
    del kept
    return figures


def describe_machine() -> dict[str, object]:
    """CPU, cores, memory, versions and load average."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory_kb = int(Path("/proc/meminfo").read_text(encoding="utf-8").split()[1])
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory_kb / 2**20, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "load_average": os.getloadavg(),
    }


def _status_mb(field: str) -> float:
    line = next(line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024 / 1e6


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
