"""Small .om files from the double of ATC, and programs run on the double of acl in their own process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

ROOT = Path(__file__).parents[2]
DOUBLE = ROOT / "tests" / "doubles" / "cann"
SIDE = 6

# Every program starts with this: a device over argv[1], and volumes whose answers are known.
_HEAD = """
import os, signal, sys, threading, time
import numpy as np
from helpers.devices import open_device
from helpers.errors import CookbookError

# A suite that was started in the background passes on that Ctrl-C is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

def feed(count, seed=0, side=%d):
    return np.random.default_rng(seed).standard_normal((count, 2, side, side, side), dtype=np.float32)

def check(answer, x):
    assert np.array_equal(answer["scores"], 2 * x), "wrong answer"
"""


def double_model(path: Path, side: int = SIDE) -> Path:
    """scores = 2 x, mask = ArgMax over channels (int64, as ONNX has it); the batch is open."""
    shape = ["batch", 2, side, side, side]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)
    mask = helper.make_tensor_value_info("mask", TensorProto.INT64, [shape[0], *shape[2:]])
    nodes = [
        helper.make_node("Add", ["image", "image"], ["scores"], "twice"),
        helper.make_node("ArgMax", ["scores"], ["mask"], "best", axis=1, keepdims=0),
    ]
    graph = helper.make_graph(nodes, "g", [image], [scores, mask])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6), str(path))
    return path


def convert(graph: Path, output: Path, *options: str, input_format: str = "NCDHW", **environment: str) -> Path:
    """An .om of a graph, by the double of ATC."""
    command = [str(DOUBLE / "bin" / "atc"), "--framework=5", f"--model={graph}", f"--output={output}"]
    command += [f"--input_format={input_format}", "--soc_version=Ascend310P3", *options]
    variables = {f"CANN_DOUBLE_{name}": value for name, value in environment.items()}
    variables |= {"PYTHONPATH": str(DOUBLE / "python"), "CANN_DOUBLE_PYTHON": sys.executable}
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return output.with_name(f"{output.name}.om")


def convert_static(folder: Path, batch: int, side: int = SIDE) -> Path:
    """The model with one batch size."""
    graph = double_model(folder / "model.onnx", side)
    return convert(graph, folder / f"bs{batch}", f"--input_shape=image:{batch},2,{side},{side},{side}")


def convert_gears(folder: Path, *batches: int) -> Path:
    """The model with several batch sizes in one file."""
    graph, gears = double_model(folder / "model.onnx"), ",".join(map(str, batches))
    shape = f"--input_shape=image:-1,2,{SIDE},{SIDE},{SIDE}"
    return convert(graph, folder / "gears", shape, f"--dynamic_batch_size={gears}")


@dataclass
class Ran:
    """A program that ended: exit code, output, and the double's report of each process that used acl."""

    code: int
    output: str
    reports: list[dict]

    @property
    def report(self) -> dict:
        (report,) = self.reports
        return report


def run_on_double(
    program: str, model: Path, folder: Path, interrupt_at: str | None = None, **environment: object
) -> Ran:
    """Runs a program (after `_HEAD`) on the double of acl.

    Args:
        program: finds the model's path in `sys.argv[1]`.
        model: an .om.
        folder: for the reports.
        interrupt_at: a line of output at which the process group is sent SIGINT, as Ctrl-C does.
        environment: CANN_DOUBLE_ variables without their prefix.
    """
    for old in folder.glob("acl-*.json"):
        old.unlink()
    variables = {f"CANN_DOUBLE_{name}": str(value) for name, value in environment.items()}
    variables |= {"CANN_DOUBLE_REPORT": str(folder / "acl-%p.json"), "PYTHONUNBUFFERED": "1"}
    variables["PYTHONPATH"] = f"{ROOT}:{DOUBLE / 'python'}"
    process = subprocess.Popen(
        [sys.executable, "-c", _HEAD % SIDE + textwrap.dedent(program), str(model)],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if line.strip() == interrupt_at:
                os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("acl-*.json"))]
    return Ran(process.returncode, "".join(lines), reports)
