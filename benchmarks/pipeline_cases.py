"""Cases in flight against one after the other, on a *simulated* device whose latency equals the host's time.

Run as `python benchmarks/pipeline_cases.py [--cases 12] [--shape 300 512 512]`; writes
`benchmarks/results/pipeline_cases.json`. The network is a function that waits, so all work is the host's: reading,
resampling to the plan's spacing, normalising, summing windows, resampling back, writing and reading the mask back. A
first pass without latency measures that; its seconds per window are then the latency.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
from measure import describe_machine  # noqa: E402

from helpers import recipes  # noqa: E402
from helpers.data.geometry import Geometry  # noqa: E402
from helpers.data.volume import Volume, write_volume  # noqa: E402
from helpers.devices.base import SessionDevice  # noqa: E402
from helpers.inference.predictor import DevicePredictor  # noqa: E402
from helpers.run.in_flight import InFlight, cases_at_once  # noqa: E402
from helpers.run.measure import peak_memory, return_memory  # noqa: E402
from helpers.stages.case_in_flight import open_flight, read_in_flight, segment_in_flight  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "pipeline_cases.json"


class SimulatedSession:
    """Waits, one call at a time, and answers with scores that depend on the image."""

    batches, max_in_flight, simulated, notes, torch_network = None, 2, True, (), None

    def __init__(self, channels: int, classes: int, window: tuple[int, ...]):
        self.inputs = [("image", "float32", (None, channels, *window))]
        self.outputs = [("scores", "float32", (None, classes, *window))]
        self.latency_s, self.calls, self.classes, self._busy = 0.0, 0, classes, threading.Lock()

    def run(self, feeds, allocate=np.empty):
        with self._busy:
            self.calls += 1
            time.sleep(self.latency_s)
        image = feeds["image"]
        steps = np.arange(self.classes, dtype=np.float32).reshape(1, -1, *(1,) * (image.ndim - 2))
        return {"scores": steps * image[:, :1]}, {}

    def close(self) -> None:
        pass


def write_cases(folder: Path, count: int, shape: list[int], spacing_mm: tuple[float, ...], channels: int) -> None:
    """Bodies of noise in air, int16."""
    random = np.random.default_rng(1)
    z, y, x = (np.linspace(-1, 1, size, dtype=np.float32) for size in shape)
    body = (y[:, None] / 0.7) ** 2 + (x / 0.9) ** 2 < 1
    plane = np.where(body, random.normal(60, 40, body.shape), -1000).astype(np.int16)
    (folder / "imagesTs").mkdir(parents=True)
    for index in range(count):
        image = np.stack([np.roll(plane, index + 31 * place, 1) for place in range(len(z))])
        for channel in range(channels):
            path = folder / "imagesTs" / f"case_{index:02d}_{channel:04d}.nii.gz"
            write_volume(path, Volume(image, Geometry.identity(tuple(shape), spacing_mm)))


def run_all(recipe, params, files, session, flight: InFlight, masks: Path) -> dict[str, float]:
    """Seconds by the clock, of the device and of the host's cores, and the peak memory, of all cases."""
    masks.mkdir()
    device = SessionDevice(session, name="a simulated device")
    predictor = DevicePredictor(device, "image", "scores")

    def work(each, place) -> None:
        case = read_in_flight(recipe, params, each, place)
        path = masks / f"{each.id}.nii.gz"
        classes = segment_in_flight(recipe, params, case, predictor, path, place)
        recipe.cases.write_mask(classes, case, path)
        assert np.array_equal(recipe.cases.read_mask(path, case), classes)

    return_memory()
    session.calls, started, cpu = 0, time.perf_counter(), time.process_time()
    with peak_memory() as memory, closing(flight.run(files, work)) as landed:
        for each in landed:
            each.result()
    wall = time.perf_counter() - started
    device.close()
    return {
        "wall_s": round(wall, 2),
        "host_cpu_s": round(time.process_time() - cpu, 2),
        "device_s": round(session.calls * session.latency_s, 2),
        "calls": session.calls,
        "peak_rss_mb": memory["peak_rss_mb"],
        "most_reserved_mb": round(flight.peak_reserved / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--shape", type=int, nargs=3, default=[300, 512, 512])
    parser.add_argument("--spacing", type=float, default=0.8, help="of the cases, relative to the plan's")
    parser.add_argument("--in-flight", type=int)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    logging.getLogger("cookbook").setLevel(logging.WARNING)
    recipe = recipes.load("unetpp3d_liver")
    with tempfile.TemporaryDirectory(prefix="pipeline-") as folder:
        figures = compare(recipe, options, Path(folder))
    cores = describe_machine()["cores"]
    bound = max(figures["in_flight"]["device_s"], figures["sequential"]["host_cpu_s"] / cores)
    figures["bound_s"] = round(bound, 2)
    for name in ("sequential", "in_flight"):
        figures[name]["ratio"] = round(figures[name]["wall_s"] / bound, 3)
    content = {
        "what": "cases in flight against one after the other on a *simulated* device",
        "bound": "max(device_s, host_cpu_s / cores)",
        "command": " ".join(["python", "benchmarks/pipeline_cases.py", *sys.argv[1:]]),
        "machine": describe_machine(),
        **figures,
    }
    options.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


def compare(recipe, options, folder: Path) -> dict:
    """The three passes: without latency, one after the other, in flight."""
    params = recipe.prepare_params(profile="demo", data_root=str(folder / "data"))
    plan = recipe.model.plan(params)
    spacing = tuple(options.spacing * mm for mm in plan.spacing_mm)
    write_cases(folder / "data", options.cases, options.shape, spacing, len(plan.channels))
    files = recipe.cases.list_cases(folder / "data", params)
    session = SimulatedSession(len(plan.channels), plan.n_outputs, tuple(plan.patch_size))
    probe = run_all(recipe, params, files[:1], session, InFlight(1, 1 << 62), folder / "probe")
    again = run_all(recipe, params, files[:1], session, InFlight(1, 1 << 62), folder / "again")
    session.latency_s = again["wall_s"] / again["calls"]
    one, several = InFlight(1, 1 << 62), open_flight(params, len(files))
    several.count = cases_at_once(options.in_flight, len(files))
    figures = {
        "cases": options.cases,
        "shape": options.shape,
        "host_wall_s_per_case": again["wall_s"],
        "first_case_s": probe["wall_s"],
        "latency_s": round(session.latency_s, 5),
        "sequential": run_all(recipe, params, files, session, one, folder / "one"),
        "in_flight": run_all(recipe, params, files, session, several, folder / "several"),
        "count": several.count,
        "budget_mb": round(several.budget_bytes / 1e6, 1),
    }
    same = [_digest(folder / "one", each.id) == _digest(folder / "several", each.id) for each in files]
    return {**figures, "masks_equal": all(same)}


def _digest(folder: Path, case_id: str) -> str:
    return hashlib.sha256((folder / f"{case_id}.nii.gz").read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
