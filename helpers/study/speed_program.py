"""Times one compiled model in a separate process, so that the peak memory is that of the model alone.

Usage: `python -m helpers.study.speed_program JOB`. JOB is JSON with `path`, `target`, `options` (of `open_device`),
`input` (a .npy file with one batch), `name` (of the input), `batches` and `budget_s`. Prints one JSON line per batch
size, with the latency, the `peak_rss_mb` of the process so far and the `joules_per_sample` of the processor, None if
its counters cannot be read.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.errors import DeviceError, last_line
from helpers.params.paths import SOURCE_ROOT

if TYPE_CHECKING:
    from helpers.view.precision import Speed


def time_in_own_process(
    path: Path,
    target: str,
    options: Mapping[str, object],
    sample: Path,
    name: str,
    batches: Sequence[int],
    budget_s: float,
) -> list[Speed]:
    """Measures latency and peak memory for each batch size, in ascending order.

    Args:
        path: the compiled model.
        target: name of the target that runs it.
        options: further arguments of `open_device`.
        sample: a .npy file with one batch (1, C, *window).
        name: name of the model's input.
        batches: batch sizes to time.
        budget_s: time to spend per batch size.

    Raises:
        DeviceError: the process failed; the message has the last line that it printed.
    """
    job: dict[str, object] = {"path": str(path), "target": target, "options": dict(options), "input": str(sample)}
    job |= {"name": name, "batches": sorted(batches), "budget_s": budget_s}
    command = [sys.executable, "-m", "helpers.study.speed_program", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", cwd=SOURCE_ROOT)
    if done.returncode != 0:
        received = last_line(done.stderr) or f"exit code {done.returncode}"
        raise DeviceError(f"timing {path.name} on {target} failed", received=received)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def main(argument: str) -> None:
    """Times every batch size and prints a line for each."""
    from helpers.devices import open_device
    from helpers.study.energy import open_meter
    from helpers.study.latency import WARM_UP, measure_latency

    job = json.loads(argument)
    sample = np.load(job["input"])
    with open_device(job["path"], job["target"], **job["options"]) as device:
        for batch in job["batches"]:
            feeds = {job["name"]: np.ascontiguousarray(np.repeat(sample, batch, axis=0))}
            meter = open_meter()
            latency = measure_latency(device, feeds, budget_s=job["budget_s"])
            samples = (latency.calls + WARM_UP) * batch
            joules = meter() / samples if meter else None
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # kB on Linux
            sys.stdout.write(
                json.dumps({**latency.to_json(), "peak_rss_mb": round(peak_mb, 1), "joules_per_sample": joules})
                + "\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
