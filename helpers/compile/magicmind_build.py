"""Builds a MagicMind model from ONNX or TorchScript, in a child process of the target's interpreter."""

from __future__ import annotations

import functools
import json
import shlex
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from helpers.compile.magicmind_config import allowed_batches, layout_of
from helpers.compile.program import run_program
from helpers.errors import CompileError
from helpers.graph.spec import GraphSpec

PROGRAM = Path(__file__).parent / "programs" / "build_magicmind.py"
_LOOK_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class MagicMindHere:
    """What an interpreter has of MagicMind."""

    version: str
    devices: int
    is_double: bool


@dataclass(frozen=True)
class CalibrationSet:
    """Windows that a quantised build is shown, (N, C, *window) float32: the array `windows` of an `.npz` file.

    Args:
        windows: the file.
        algorithm: of MagicMind, `LINEAR_ALGORITHM` or `EQNM_ALGORITHM`.
    """

    windows: Path
    algorithm: str = "LINEAR_ALGORITHM"


@functools.lru_cache(maxsize=8)
def find_magicmind(python: str) -> MagicMindHere | None:
    """Version and MLU count that an interpreter finds, or None where MagicMind cannot be imported.

    Raises:
        CompileError: the interpreter cannot be started, or died.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = _ask(python, {"look": True}, Path(folder) / "look.log", _LOOK_TIMEOUT_S)
    return None if "missing" in answer else MagicMindHere(answer["version"], answer["devices"], answer["double"])


def describe_build(
    graph: Path, output: Path, spec: GraphSpec, config: Mapping, calibration: CalibrationSet | None
) -> dict:
    """What the build program is told, as JSON; paths as they are given.

    Raises:
        CompileError: a quantised precision without windows.
    """
    mode = config["precision_config"]["precision_mode"]
    if mode.startswith("qint") and calibration is None:
        raise CompileError(f"{mode} without a calibration set", remedy="Give windows of several cases.")
    shown = {"windows": str(calibration.windows), "algorithm": calibration.algorithm} if calibration else None
    return {
        "parser": "torchscript" if graph.suffix == ".pt" else "onnx",
        "graph": str(graph),
        "output": str(output.with_suffix(".mm")),
        "inputs": [list(spec.batch_shape(spec.batch_size))],
        "config": dict(config),
        "device_id": 0,
        "calibration": shown,
    }


def show_build_command(python: str, job: Mapping) -> str:
    """The build as one line for a shell; the program needs numpy and MagicMind and nothing of this project."""
    return shlex.join([python, PROGRAM.name, json.dumps(job, separators=(",", ":")), "built.json"])


def build_magicmind(
    graph: Path,
    output: Path,
    spec: GraphSpec,
    config: Mapping,
    *,
    python: str,
    output_shape: tuple[int | None, ...],
    calibration: CalibrationSet | None = None,
    timeout_s: float = 3600.0,
    report: Callable[[str], None] | None = None,
) -> Path:
    """Writes `<output>.mm`, `<output>.json` with the names, layouts and batches that the device needs, and a log.

    Args:
        graph: an `.onnx` file, or a `.pt` file of `helpers.compile.torchscript`.
        output: path without its suffix.
        spec: names and shapes of the graph.
        config: of `helpers.compile.magicmind_config.assemble_builder_config`.
        python: the interpreter that has MagicMind.
        output_shape: shape of the graph's output in its own layout, None on open axes.
        calibration: for the quantised precisions.
        timeout_s: after which the build is given up.
        report: takes a line of progress.

    Raises:
        CompileError: MagicMind is not there, refuses the graph, crashes or takes too long; what it printed is in
            `<output>.log`.
    """
    job = describe_build(graph.resolve(), output.resolve(), spec, config, calibration)
    answer = _ask(python, job, output.with_suffix(".log"), timeout_s, report)
    if "missing" in answer:
        raise CompileError("MagicMind is not installed", received=answer["missing"], expected=f"it in {python}")
    interface = _describe_interface(answer, spec, config, output_shape)
    output.with_suffix(".json").write_text(json.dumps(interface, indent=1) + "\n", encoding="utf-8")
    return output.with_suffix(".mm")


def _ask(python: str, job: dict, log: Path, timeout_s: float, report: Callable[[str], None] | None = None) -> dict:
    """What the build program answers to a job."""
    with tempfile.TemporaryDirectory() as folder:
        answered = Path(folder) / "answer.json"
        command = [python, str(PROGRAM), json.dumps(job), str(answered)]
        last = run_program(command, log, timeout_s, title="MagicMind", report=report)
        if not answered.exists():
            raise CompileError("MagicMind's build gave no answer", received=last, remedy=f"Read {log}.")
        answer = json.loads(answered.read_text(encoding="utf-8"))
    if "refused" in answer:
        raise CompileError("MagicMind refuses the model", received=answer["refused"], remedy=f"Read {log}.")
    return answer


def _describe_interface(answer: dict, spec: GraphSpec, config: Mapping, output_shape: tuple[int | None, ...]) -> dict:
    """The model's tensors by the graph's names and in its layout; the types are those that the model reports."""
    batches = allowed_batches(config, spec)
    batch = batches[0] if len(batches) == 1 else None
    outside = list(output_shape)
    outside[spec.output_batch_axis] = batch
    tensors = {}
    for side, name, shape in (
        ("input", spec.input_name, [batch, *spec.input_shape]),
        ("output", spec.output_name, outside),
    ):
        ((_, _, dtype),) = answer[f"{side}s"]
        tensors[side] = {"name": name, "dtype": dtype, "shape": shape, "layout": layout_of(config, side)}
    mode = config["precision_config"]["precision_mode"]
    return {**tensors, "batches": batches, "precision_mode": mode, "calibration_windows": answer["samples"]}
