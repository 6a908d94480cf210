"""Simplifies a graph with onnxsim in a guarded child process, and keeps the original when that fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from helpers.graph.read import load_graph

# onnxsim can crash the interpreter on some graphs; a child's crash is only a fallback here.
_CHILD = """
import json, sys
import onnx, onnxsim
source, target, check_n, shapes = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
model, ok = onnxsim.simplify(source, check_n=check_n, test_input_shapes=shapes)
if not ok:
    sys.exit("the simplified graph computes something else than the original")
onnx.save(model, target)
"""


@dataclass(frozen=True)
class Simplified:
    """Whether simplifying worked, the reason when it did not, and the node counts before and after."""

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
) -> Simplified:
    """Writes the simplified graph to `target`, or the unchanged one when onnxsim fails.

    Args:
        source: the exported graph.
        target: the file to write.
        input_shapes: shapes to compare both graphs at (onnxsim cannot draw inputs for an open batch).
        timeout_s: after this many seconds the child is ended and the unchanged graph kept.
        check_n: comparisons with random inputs; at least 1, because onnxsim's own default of 0 compares nothing.

    Returns:
        What happened; `simplified` is False when the unchanged graph was kept.
    """
    shapes = json.dumps({name: list(shape) for name, shape in input_shapes.items()})
    command = [sys.executable, "-c", _CHILD, str(source), str(target), str(max(1, check_n)), shapes]
    before = len(load_graph(source).graph.node)
    target.unlink(missing_ok=True)  # an earlier attempt's file must not pass for this one's
    reason = _run_child(command, timeout_s)
    if not reason and not target.is_file():
        reason = "onnxsim wrote no file"
    if reason:
        shutil.copyfile(source, target)
        return Simplified(False, reason, before, before)
    return Simplified(True, "", before, len(load_graph(target).graph.node))


def _run_child(command: list[str], timeout_s: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"onnxsim took longer than {timeout_s:g} s"
    if done.returncode == 0:
        return ""
    if done.returncode < 0:
        return f"onnxsim crashed with signal {-done.returncode}"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return f"onnxsim failed: {lines[-1] if lines else f'exit code {done.returncode}'}"
