"""What our own code adds to a call on an Ascend chip, and how several chips scale: on the double of acl, simulated.

    python benchmarks/ascend_double.py

The double executes by a copy or a sleep on this CPU, so its seconds say nothing of a card; what is left of the clock
after the double's own figures are taken off is ours, and would be on a card too.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.measure import describe_machine  # noqa: E402

DOUBLE = ROOT / "tests" / "doubles" / "cann"
RESULTS = ROOT / "benchmarks" / "results" / "ascend_double.json"
SIDE, PATCHES, CHIPS = 128, 200, 4
LATENCY_FACTOR = 8


def make_identity(folder: Path) -> Path:
    """An .om that copies (1, 1, 128, 128, 128) float32."""
    import onnx
    from onnx import TensorProto, helper

    shape = [1, 1, SIDE, SIDE, SIDE]
    image, scores = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "scores"))
    graph = helper.make_graph([helper.make_node("Identity", ["image"], ["scores"])], "g", [image], [scores])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.save(model, str(folder / "identity.onnx"))
    command = [str(DOUBLE / "bin" / "atc"), "--framework=5", f"--model={folder / 'identity.onnx'}"]
    command += [f"--output={folder / 'identity'}", "--input_format=NCDHW", "--soc_version=Ascend310P3"]
    environment = {**os.environ, "PYTHONPATH": str(DOUBLE / "python"), "CANN_DOUBLE_PYTHON": sys.executable}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return folder / "identity.om"


def run_part(part: str, model: Path, **double: object) -> dict[str, float]:
    """One part in a process of its own, on the double with these variables; its report must be clean."""
    variables = {f"CANN_DOUBLE_{name}": str(value) for name, value in double.items()}
    with tempfile.TemporaryDirectory() as reports:
        variables["CANN_DOUBLE_REPORT"] = f"{reports}/%p.json"
        variables["PYTHONPATH"] = f"{ROOT}:{DOUBLE / 'python'}"
        command = [sys.executable, __file__, part, str(model)]
        done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
        found = [json.loads(path.read_text(encoding="utf-8")) for path in Path(reports).glob("*.json")]
    if not found or not all(report["ok"] for report in found):
        raise SystemExit(f"the double's report is not clean: {[report['violations'] for report in found]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure_hot_path(model: str) -> dict[str, float]:
    """Milliseconds of a call, of the double in it (execution and its two copies), and the rest, which is ours."""
    import acl
    import numpy as np

    from helpers.devices import open_device

    doubles = _DoublesClock(acl)
    image = np.random.default_rng(0).standard_normal((1, 1, SIDE, SIDE, SIDE), dtype=np.float32)
    calls, inside = [], []
    with open_device(model, "ascend310p3") as device:
        for _ in range(5 + PATCHES):
            before, start = doubles.seconds(), time.perf_counter()
            answer = device.infer({"image": image})
            calls.append(time.perf_counter() - start)
            inside.append(doubles.seconds() - before)
        same = np.array_equal(answer["scores"], image)
        if not same:
            raise SystemExit("wrong answer")
    rest = [call - double for call, double in zip(calls, inside, strict=True)][5:]
    median = {"call_ms": calls[5:], "double_ms": inside[5:], "ours_ms": rest}
    return {name: 1000 * statistics.median(seconds) for name, seconds in median.items()}


class _DoublesClock:
    """Seconds that the double spends in executing and in copying, which a card would spend instead."""

    def __init__(self, acl):
        self._state, self._copied = acl._state.S, 0.0
        real = acl.ctypes.memmove

        def timed(*arguments):
            start = time.perf_counter()
            real(*arguments)
            self._copied += time.perf_counter() - start

        # The double's copies alone: ours are numpy's.
        acl.ctypes = type("ctypes", (), {**vars(acl.ctypes), "memmove": staticmethod(timed)})

    def seconds(self) -> float:
        return self._copied + sum(chip["busy_s"] for chip in self._state.exec_stats.values())


def measure_throughput(model: str, devices: list[int]) -> dict[str, float]:
    """Patches a second, submitted as inference does: so many in flight, answers in order."""
    from collections import deque

    import numpy as np

    from helpers.devices import open_device

    rng = np.random.default_rng(0)
    images = [rng.standard_normal((1, 1, SIDE, SIDE, SIDE), dtype=np.float32) for _ in range(4)]
    with open_device(model, "ascend310p3", devices=devices) as device:
        for future in [device.submit({"image": images[0]}) for _ in range(2 * device.max_in_flight)]:
            future.result()
        start, flying = time.perf_counter(), deque()
        cpu = time.process_time()
        for index in range(PATCHES):
            flying.append((index, device.submit({"image": images[index % 4]})))
            if len(flying) > device.max_in_flight or index == PATCHES - 1:
                while len(flying) > (device.max_in_flight if index < PATCHES - 1 else 0):
                    landed, future = flying.popleft()
                    if not np.array_equal(future.result()["scores"], images[landed % 4]):
                        raise SystemExit("wrong answer")
        seconds = time.perf_counter() - start
        told = device.recovered_errors()
    if told:
        raise SystemExit(str(told))
    return {"patches_per_s": PATCHES / seconds, "our_cpu_ms_per_patch": 1000 * (time.process_time() - cpu) / PATCHES}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = make_identity(Path(folder))
        hot = run_part("hot", model)
        # CPU of a patch: everything but the sleep, ours and the double's, in this process.
        latency_ms = max(40.0, LATENCY_FACTOR * hot["call_ms"])
        one = run_part("one", model, LATENCY_MS=latency_ms, DEVICES=CHIPS, THREADS=1)
        many = run_part("many", model, LATENCY_MS=latency_ms, DEVICES=CHIPS, THREADS=1)
    result = {
        "benchmark": "ascend_double",
        "note": "simulated: the double of acl on this CPU, no card",
        "command": "python benchmarks/ascend_double.py",
        "machine": describe_machine(),
        "patches": PATCHES,
        "hot_path": hot,
        "latency_ms": latency_ms,
        "one_chip": one,
        "four_chips": many,
        "speed_up": many["patches_per_s"] / one["patches_per_s"],
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps({name: result[name] for name in ("hot_path", "latency_ms", "one_chip", "speed_up")}))


if __name__ == "__main__":
    parts = {
        "hot": measure_hot_path,
        "one": lambda model: measure_throughput(model, [0]),
        "many": lambda model: measure_throughput(model, list(range(CHIPS))),
    }
    if len(sys.argv) == 3:
        sys.stdout.write("\n" + json.dumps(parts[sys.argv[1]](sys.argv[2])) + "\n")
    else:
        main()
