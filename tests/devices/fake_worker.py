"""A session in numpy that misbehaves on request, and the check of its outputs."""

from __future__ import annotations

import os

import numpy as np

# A runtime in numpy: 2 x + 1 and the sum over channels; the first value of a sample says how to misbehave.
SESSION = """
import os, sys, time
import numpy as np

class Session:
    simulated, notes, torch_network = False, (), None
    inputs = [("x", "float32", [None, 2, 4, 5])]
    outputs = [("y", "float32", [None, 2, 4, 5]), ("total", "float64", [None, None, None])]
    batches = None

    def __init__(self, path, max_in_flight=2, batches=None, noise=False, device="CPU"):
        print("opening", path)
        self.max_in_flight, self.batches, self.noise = max_in_flight, batches, noise
        if path.endswith("refuse"):
            raise ValueError("not a\\nmodel")
        if path.endswith("die"):
            os._exit(7)

    def run(self, feeds, allocate=np.empty):
        x = feeds["x"]
        order = x.flat[0]
        if self.noise:
            print("{\\"done\\": 0}", flush=True)
            os.write(1, b"from the depths\\n")
        if order == -1:
            sys.stderr.write("last words\\n")
            sys.stderr.flush()
            os._exit(3)
        if order == -2:
            raise RuntimeError("no such kernel")
        if order == -3:
            time.sleep(60)
        time.sleep(0.005 * (int(order) % 4))
        return {"y": 2 * x + 1, "total": x.astype(np.float64).sum(axis=1)}, {}

    def close(self):
        print("closing")

def open_session(path, **options):
    return Session(path, **options)
"""


def shared_files() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith("cookbook-")}


def batch(count: int, first: float = 0.0) -> np.ndarray:
    x = np.random.default_rng(count).standard_normal((count, 2, 4, 5), dtype=np.float32)
    x.flat[0] = first
    return x


def check(device, x: np.ndarray) -> None:
    answer = device.infer({"x": x})
    assert np.array_equal(answer["y"], 2 * x + 1)
    assert np.array_equal(answer["total"], x.astype(np.float64).sum(axis=1))
