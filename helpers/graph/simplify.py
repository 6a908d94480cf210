"""Simplifies a graph with onnxsim in a child process, and keeps the original if that fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx

from helpers.errors import last_line
from helpers.graph.read import load_graph

# onnxsim can crash the interpreter on some graphs; in a child process a crash only means that the original is kept.
# The child ends with the process that started it, however that ends (prctl(PR_SET_PDEATHSIG, SIGKILL)). onnxsim
# imports torch if it is there, for work that is not done here: four times the time of everything else.
_CHILD = """
import ctypes, json, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
sys.modules["torch"] = None
import onnx, onnxsim
source, target, check_n, shapes = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
model, ok = onnxsim.simplify(source, check_n=check_n, test_input_shapes=shapes)
if not ok:
    sys.exit("the simplified graph does not compute the same outputs")
onnx.save(model, target)
"""


@dataclass(frozen=True)
class Simplified:
    """Whether onnxsim succeeded, the reason if it did not, and the node counts before and after."""

    simplified: bool
    reason: str
    nodes_before: int
    nodes_after: int


def run_onnxsim(
    source: Path,
    target: Path,
    input_shapes: dict[str, tuple[int, ...]],
    *,
    timeout_s: float,
    check_n: int = 1,
    compare: bool = True,
) -> Simplified:
    """Writes the simplified graph to `target`, or the unchanged one if onnxsim fails.

    Args:
        source: the exported graph.
        target: the file to write.
        input_shapes: shapes at which both graphs are compared; onnxsim cannot generate inputs for a dynamic batch.
        timeout_s: the child is killed after this time, and the graph is left unchanged.
        check_n: number of comparisons on random inputs; at least 1, because onnxsim's default of 0 compares nothing.
        compare: False if the caller compares the outputs itself; onnxsim runs both graphs on the full window.
    """
    shapes = json.dumps({name: list(shape) for name, shape in input_shapes.items()})
    model = load_graph(source)
    before = len(model.graph.node)
    target.unlink(missing_ok=True)  # a file from an earlier attempt must not be mistaken for the result
    with tempfile.TemporaryDirectory() as folder:
        complete = _complete_file(source, model, Path(folder))
        checks = str(max(1, check_n) if compare else 0)
        command = [sys.executable, "-c", _CHILD, str(complete), str(target), checks, shapes]
        reason = _run_child(command, timeout_s)
        if not reason and not target.is_file():
            reason = "onnxsim wrote no file"
        if reason:
            shutil.copyfile(complete, target)
            return Simplified(False, reason, before, before)
    return Simplified(True, "", before, len(load_graph(target).graph.node))


def keep_unsimplified(source: Path, target: Path, reason: str) -> Simplified:
    """Writes the unchanged graph to `target`, in the form of `load_graph`."""
    model = load_graph(source)
    onnx.save(model, str(target))
    return Simplified(False, reason, len(model.graph.node), len(model.graph.node))


def _complete_file(source: Path, model: onnx.ModelProto, folder: Path) -> Path:
    """The graph's file itself, or a copy that needs no other file and is in the form of `load_graph`."""
    if source.stat().st_size == model.ByteSize():
        stored = onnx.load(str(source), load_external_data=False)
        if stored == model:
            return source
    path = folder / "graph.onnx"
    onnx.save(model, str(path))
    return path


def _run_child(command: list[str], timeout_s: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"onnxsim took longer than {timeout_s:g} s"
    if done.returncode == 0:
        return ""
    if done.returncode < 0:
        return f"onnxsim crashed with signal {-done.returncode}"
    return f"onnxsim failed: {last_line(done.stderr) or f'exit code {done.returncode}'}"
