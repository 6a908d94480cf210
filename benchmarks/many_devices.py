"""How well many devices are kept busy: *simulated* devices of a set latency, here and in actors of Ray.

    python benchmarks/many_devices.py            # about five minutes; writes results/many_devices.json

A simulated device sleeps for its latency and then answers with scores that follow from the window, so masks are real
and everything around the device is the real thing: reading, windows, sums, writing, the store, the run's record.
Ideal is windows x latency / devices. Start-up is excluded: it ends when every actor has answered once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests" / "stages")]
from measure import describe_machine  # noqa: E402

from helpers import recipes, stages  # noqa: E402
from helpers.data.geometry import Geometry  # noqa: E402
from helpers.data.volume import Volume, write_volume  # noqa: E402
from helpers.devices.base import TensorSpec  # noqa: E402
from helpers.inference.predictor import DevicePredictor  # noqa: E402
from helpers.run.atomic import write_json  # noqa: E402
from helpers.stages import infer, on_actor  # noqa: E402
from helpers.stages.case_in_flight import segment_in_flight  # noqa: E402
from helpers.stages.data import selected_cases  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "many_devices.json"
WINDOW = 16


class SimulatedDevice:
    """Answers after a latency, `chips` calls at once; bright voxels are the foreground."""

    name, simulated, torch_network, batches, output_batch_axis = "simulated", True, None, None, 0

    def __init__(self, chips: int, latency_s: float):
        self.max_in_flight, self._latency_s = chips, latency_s
        self.inputs = [TensorSpec("image", "float32", (None, 1, *[WINDOW] * 3))]
        self.outputs = [TensorSpec("class", "float32", (None, 2, *[WINDOW] * 3))]
        self._threads = ThreadPoolExecutor(chips)

    def submit(self, feeds: Mapping[str, np.ndarray]) -> Future:
        """The scores of a batch, later."""
        return self._threads.submit(self._answer, feeds["image"])

    def recovered_errors(self) -> list[str]:
        """None."""
        return []

    def _answer(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        time.sleep(self._latency_s)
        return {"class": np.concatenate([0.5 - batch, batch - 0.5], axis=1)}


class SimulatedSource(contextlib.nullcontext):
    """A source of masks on a simulated device."""

    def __init__(self, recipe, run, chips: int, latency_s: float):
        super().__init__(self)
        self._recipe, self._run = recipe, run
        device = SimulatedDevice(chips, latency_s)
        self._predictor = DevicePredictor(device, "image", "class")

    def digest(self, case_id: str) -> str:
        """The same for every simulated device."""
        return "simulated"

    def open(self) -> None:
        """Nothing."""

    def segment(self, case, path, place):
        """Real windows, sums and labels."""
        return segment_in_flight(self._recipe, self._run.params, case, self._predictor, path, place)

    def recovered_errors(self) -> list[str]:
        """None."""
        return []

    def is_simulated(self) -> bool:
        """Yes."""
        return True


def open_simulated(latency_s: float, recipe, run):
    """Opens one simulated device in an actor."""
    return partial(infer._begin_case, recipe, run, SimulatedSource(recipe, run, 1, latency_s))


@dataclass(frozen=True)
class Setting:
    """One measurement: `cases` volumes of side `side` on `devices` simulated devices."""

    engine: str
    devices: int
    latency_ms: float
    cases: int
    side: int
    at_once: int

    @property
    def windows(self) -> int:
        """Windows per case, at half overlap."""
        return ((self.side - WINDOW) // (WINDOW // 2) + 1) ** 3


def prepare(setting: Setting, folder: Path):
    """A run on so many cases, carried to where masks are made."""
    from safetensors.torch import save_file

    tiny = __import__("tiny_recipe")
    data = folder / f"data-{setting.side}-{setting.cases}"
    (folder / "params" / "tiny").mkdir(parents=True, exist_ok=True)
    (folder / "params" / "tiny" / "demo.yaml").write_text("{}\n", encoding="utf-8")
    recipes.register("tiny", "tiny_recipe:RECIPE", params_folder=folder / "params")
    save_file(tiny.trained_state(), folder / "trained.safetensors")
    if not data.is_dir():
        data.mkdir()
        grid, random = Geometry.identity((setting.side,) * 3), np.random.default_rng(0)
        for number in range(setting.cases):
            image = random.normal(0.3, 0.3, (1, *[setting.side] * 3)).astype(np.float32)
            write_volume(data / f"case_{number:05d}_image.nii.gz", Volume(image, grid))
    given = {"data_root": str(data), "checkpoint": str(folder / "trained.safetensors"), "engine": setting.engine}
    given |= {"cases_in_flight": setting.at_once, "ray_actors": setting.devices}
    outputs = tempfile.mkdtemp(prefix="run-", dir=folder)
    recipe, run = stages.start_run("tiny", {**given, "outputs": outputs})
    steps = (stages.prepare_data, stages.export_onnx, stages.simplify_onnx, stages.apply_surgery, stages.lint_graph)
    for step in (*steps, stages.compile_model):
        step(recipe, run)
    return recipe, run


def land(setting: Setting, recipe, run, cases):
    """The begun cases of an engine, in order."""
    latency_s = setting.latency_ms / 1000
    if setting.engine == "ray":
        return on_actor.land_on_ray(recipe, run, cases, infer._stage_of, partial(open_simulated, latency_s))
    return infer._land_cases(recipe, run, SimulatedSource(recipe, run, setting.devices, latency_s), cases)


def measure(setting: Setting, folder: Path) -> dict[str, object]:
    """Makes every mask; returns the figures."""
    recipe, run = prepare(setting, folder)
    cases = selected_cases(recipe, run)
    own, times, memory = psutil.Process(), [], []
    started = time.time()
    with contextlib.closing(land(setting, recipe, run, cases)) as landed:
        for number, each in enumerate(landed):
            begun = each.result()
            result = run.commit(begun)
            assert result.simulated and result.status == "made"
            times.append(
                (run.store.root / begun.key / "entry.json").stat().st_mtime
            )  # when it was made, not recorded
            if number % 100 == 99:
                memory.append(round(own.memory_info().rss / 2**20, 1))
    assert len(list(run.path("masks").iterdir())) == len(cases)
    times.sort()
    first = min(4 * setting.devices if setting.engine == "ray" else setting.at_once, len(cases) // 2)
    seconds, ideal = times[-1] - times[first - 1], setting.windows * setting.latency_ms / 1000 / setting.devices
    done = len(cases) - first
    partly = setting.devices if setting.engine == "ray" else setting.at_once  # done before the clock started
    figures = {
        "simulated": True,
        "windows_per_case": setting.windows,
        "seconds_to_first_mask": round(times[0] - started, 2),
        "seconds_after_start_up": round(seconds, 2),
        "cases_after_start_up": done,
        "cases_per_hour": round(done / seconds * 3600),
        "share_of_ideal": round(ideal * done / seconds, 4),
        "share_of_ideal_at_least": round(ideal * (done - partly) / seconds, 4),
        "driver_rss_mb_every_100_cases": memory,
        "load_average": round(os.getloadavg()[0], 2),
    }
    run.record.end("failed", "a measurement on simulated devices")
    return {**asdict(setting), **figures}


SETTINGS = {
    "local-1": Setting("local", 1, 200, 20, 24, 3),
    "local-4": Setting("local", 4, 200, 80, 24, 3),
    "local-16": Setting("local", 16, 200, 60, 40, 3),
    "local-64": Setting("local", 64, 200, 200, 40, 4),
    "ray-1": Setting("ray", 1, 200, 20, 24, 2),
    "ray-4": Setting("ray", 4, 200, 80, 24, 2),
    "ray-16": Setting("ray", 16, 200, 800, 24, 2),
    "memory": Setting("ray", 2, 1, 2000, 24, 2),
}


def main() -> None:
    """Measures, and writes the record after each measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SETTINGS), help=", ".join(SETTINGS))
    options = parser.parse_args()
    logging.getLogger("cookbook").setLevel(logging.WARNING)
    done = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    with tempfile.TemporaryDirectory(prefix="many-devices-") as folder:
        for name in options.names:
            done[name] = measure(SETTINGS[name], Path(folder))
            done["machine"] = describe_machine()
            sys.stdout.write(
                f"{name} (simulated devices): {done[name]['share_of_ideal_at_least']:.1%} of ideal at least\n"
            )
            sys.stdout.flush()
            write_json(RESULT, done)


if __name__ == "__main__":
    main()
