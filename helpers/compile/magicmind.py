"""Cambricon MagicMind: builds a model in the target's Python interpreter, and times it with `mm_run` if installed."""

from __future__ import annotations

import functools
import json
import math
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.compile.base import CompiledModel, CompileJob, Compiler, Report
from helpers.compile.magicmind_config import allowed_batches, assemble_builder_config, layout_of
from helpers.compile.process import run_program
from helpers.compile.quantize import describe_calibration
from helpers.compile.torchscript import compile_torchscript
from helpers.errors import CompileError
from helpers.graph.spec import GraphSpec
from helpers.params.targets import Target
from helpers.run.digest import digest_file
from helpers.run.result import mark_simulated

PROGRAM = Path(__file__).parent / "programs" / "build_magicmind.py"
_PROBE_TIMEOUT_S = 120.0
_TIMED_ITERATIONS = 20
_THROUGHPUT = re.compile(r"^Throughput \(qps\):\s*([0-9.eE+-]+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class MagicMindInstallation:
    """The MagicMind of an interpreter: its version, the number of MLUs, and whether it is a double."""

    version: str
    devices: int
    is_double: bool


@dataclass(frozen=True)
class CalibrationFile:
    """Calibration windows (N, C, *window) float32.

    Attributes:
        windows: an `.npz` file with the array `windows`.
        algorithm: MagicMind's `LINEAR_ALGORITHM` or `EQNM_ALGORITHM`.
    """

    windows: Path
    algorithm: str = "LINEAR_ALGORITHM"


class MagicMindCompiler(Compiler):
    """MagicMind's parser, calibrator and builder."""

    runtime = "magicmind"

    def identity(self, target: Target) -> dict[str, object] | None:
        """MagicMind's version in the target's interpreter."""
        installed = find_magicmind(_interpreter(target))
        return {"magicmind": installed.version} if installed else None

    def inputs(self, job: CompileJob) -> dict[str, object]:
        """Precision, batch size and builder options; checkpoints if they are traced, the calibration if quantised."""
        params = job.params
        inputs: dict[str, object] = {
            "precision": job.precision,
            "batch_size": params.batch_size,
            "shape_mutable": params.shape_mutable,
            "compile_from": params.compile_from,
            "builder_config": params.builder_config.given(),
        }
        if params.compile_from == "torchscript":
            inputs["checkpoints"] = [digest_file(path) for path in job.checkpoints]
        if job.is_calibrated:
            inputs["calibration"] = {"algorithm": params.quantization_algorithm, **job.calibration.inputs()}
        return inputs

    def commands(self, job: CompileJob) -> dict[str, str]:
        """The build program with its complete job, and MagicMind's own timer."""
        config = _configure(job, len(job.spec.input_shape) + 1)
        algorithm = job.params.quantization_algorithm
        windows = CalibrationFile(Path(job.calibration_file), algorithm) if job.is_calibrated else None
        # Always from ONNX: that file is in the run folder, but a traced network exists only after a build.
        build = describe_build(Path(job.graph_name), Path(job.output_name), job.spec, config, windows)
        timer = mm_run_command(Path(build["output"]), job.spec, layout_of(config, "input"))
        # The program needs only numpy and MagicMind.
        program = [job.target.python or "python3", PROGRAM.name]
        return {
            "magicmind": shlex.join([*program, json.dumps(build, separators=(",", ":")), "built.json"]),
            "mm_run": shlex.join(timer),
        }

    def compile(self, job: CompileJob, graph: Path, output: Path, report: Report) -> CompiledModel:
        """Writes `<output>.mm`, its interface and its builder configuration."""
        output_shape = _output_shape(graph)
        config = _configure(job, len(output_shape))
        if job.params.compile_from == "torchscript":
            graph = compile_torchscript(job.load_network(), job.spec, output)
        settings = output.with_name("builder_config.json")
        settings.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        python = _interpreter(job.target)
        with tempfile.TemporaryDirectory() as folder:
            path = build_magicmind(
                graph,
                output,
                job.spec,
                config,
                python=python,
                output_shape=output_shape,
                calibration=_write_windows(job, Path(folder)) if job.is_calibrated else None,
                timeout_s=job.params.build_timeout_s,
                report=report,
            )
        installed = find_magicmind(python)
        simulated = installed is not None and installed.is_double
        facts = _describe_model(job, config) | _time_model(path, job, config, simulated)
        files, batches = (path, path.with_suffix(".json")), tuple(allowed_batches(config, job.spec))
        return CompiledModel(files, batches, facts, simulated=simulated)


def _interpreter(target: Target) -> str:
    return target.python or sys.executable


def _configure(job: CompileJob, output_rank: int) -> dict:
    return assemble_builder_config(
        job.target.builder_config.given(),
        job.params.builder_config.given(),
        job.spec,
        precision=job.precision,
        shape_mutable=job.params.shape_mutable,
        output_rank=output_rank,
    )


def _write_windows(job: CompileJob, folder: Path) -> CalibrationFile:
    np.savez(folder / "windows.npz", windows=job.calibration.windows().astype(np.float32, copy=False))
    return CalibrationFile(folder / "windows.npz", job.params.quantization_algorithm)


def _output_shape(graph: Path) -> tuple[int | None, ...]:
    """Shape of a graph's only output; None for a dynamic axis."""
    import onnx

    (output,) = onnx.load(str(graph), load_external_data=False).graph.output
    return tuple(axis.dim_value or None for axis in output.type.tensor_type.shape.dim)


def _describe_model(job: CompileJob, config: Mapping) -> dict[str, object]:
    batches = allowed_batches(config, job.spec)
    layout = layout_of(config, "input")
    facts: dict[str, object] = {
        "parsed from": {"onnx": "ONNX", "torchscript": "TorchScript"}[job.params.compile_from],
        "precision": f"{config['precision_config']['precision_mode']}, fixed in the model",
        "batches": f"{batches[0]} to {batches[-1]}" if len(batches) > 1 else str(batches[0]),
        "input layout": layout[1] if layout else "the graph's own layout",
    }
    if job.is_calibrated:
        facts["calibration"] = describe_calibration(job)
    return facts


def _time_model(model: Path, job: CompileJob, config: Mapping, simulated: bool) -> dict[str, object]:
    """Measures the throughput with `mm_run` if it is installed; a model that cannot be timed is still valid."""
    if shutil.which("mm_run") is None:
        return {}
    command = mm_run_command(model, job.spec, layout_of(config, "input"), iterations=_TIMED_ITERATIONS)
    try:
        throughput = measure_throughput(command, model.with_name("mm_run.log"))
    except CompileError as error:
        return {"throughput by mm_run": error.line()}
    rate = f"{throughput:.4g} samples/s{mark_simulated(simulated)}"
    return {"throughput by mm_run": f"{rate}, {_TIMED_ITERATIONS} iterations at batch {job.spec.batch_size}"}


@functools.lru_cache(maxsize=8)
def find_magicmind(python: str) -> MagicMindInstallation | None:
    """The MagicMind of an interpreter, or None if it cannot be imported there.

    Raises:
        CompileError: the interpreter cannot be started or crashes.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = _run_build_program(python, {"probe": True}, Path(folder) / "probe.log", _PROBE_TIMEOUT_S)
    if "missing" in answer:
        return None
    return MagicMindInstallation(answer["version"], answer["devices"], answer["double"])


def describe_build(
    graph: Path, output: Path, spec: GraphSpec, config: Mapping, calibration: CalibrationFile | None
) -> dict:
    """The job of the build program, as JSON; paths are used as given.

    Raises:
        CompileError: a quantised precision has no calibration windows.
    """
    mode = config["precision_config"]["precision_mode"]
    if mode.startswith("qint") and calibration is None:
        raise CompileError(f"{mode} needs a calibration set", remedy="Pass windows of several cases.")
    windows = {"windows": str(calibration.windows), "algorithm": calibration.algorithm} if calibration else None
    return {
        "parser": "torchscript" if graph.suffix == ".pt" else "onnx",
        "graph": str(graph),
        "output": str(output.with_suffix(".mm")),
        "inputs": [list(spec.batch_shape(spec.batch_size))],
        "config": dict(config),
        "device_id": 0,
        "calibration": windows,
    }


def build_magicmind(
    graph: Path,
    output: Path,
    spec: GraphSpec,
    config: Mapping,
    *,
    python: str,
    output_shape: tuple[int | None, ...],
    calibration: CalibrationFile | None = None,
    timeout_s: float = 3600.0,
    report: Callable[[str], None] | None = None,
) -> Path:
    """Writes `<output>.mm`, a log, and `<output>.json` with the names, layouts and batches that the device needs.

    Args:
        graph: an `.onnx` file, or a `.pt` file of `helpers.compile.torchscript`.
        output: path without its suffix.
        spec: names and shapes of the graph.
        config: the result of `helpers.compile.magicmind_config.assemble_builder_config`.
        python: the interpreter that has MagicMind.
        output_shape: shape of the graph's output in the graph's layout; None for a dynamic axis.
        calibration: calibration windows for a quantised precision.
        timeout_s: the build is killed after this time.
        report: receives lines of progress.

    Raises:
        CompileError: MagicMind is not installed, rejects the graph, crashes or takes too long; its output is in
            `<output>.log`.
    """
    job = describe_build(graph.resolve(), output.resolve(), spec, config, calibration)
    answer = _run_build_program(python, job, output.with_suffix(".log"), timeout_s, report)
    if "missing" in answer:
        raise CompileError("MagicMind is not installed", received=answer["missing"], expected=f"it in {python}")
    interface = _describe_interface(answer, spec, config, output_shape)
    output.with_suffix(".json").write_text(json.dumps(interface, indent=1) + "\n", encoding="utf-8")
    return output.with_suffix(".mm")


def _run_build_program(
    python: str, job: dict, log: Path, timeout_s: float, report: Callable[[str], None] | None = None
) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        answer_path = Path(folder) / "answer.json"
        command = [python, str(PROGRAM), json.dumps(job), str(answer_path)]
        last = run_program(command, log, timeout_s, title="MagicMind", report=report)
        if not answer_path.exists():
            raise CompileError("MagicMind's build wrote no result", received=last, remedy=f"Read {log}.")
        answer = json.loads(answer_path.read_text(encoding="utf-8"))
    if "refused" in answer:
        raise CompileError("MagicMind rejects the model", received=answer["refused"], remedy=f"Read {log}.")
    return answer


def _describe_interface(answer: dict, spec: GraphSpec, config: Mapping, output_shape: tuple[int | None, ...]) -> dict:
    """Describes the model's tensors: names and layouts of the graph, types as reported by the model."""
    batches = allowed_batches(config, spec)
    batch = batches[0] if len(batches) == 1 else None
    outer_shape = list(output_shape)
    outer_shape[spec.output_batch_axis] = batch
    tensors = {}
    for side, name, shape in (
        ("input", spec.input_name, [batch, *spec.input_shape]),
        ("output", spec.output_name, outer_shape),
    ):
        ((_, _, dtype),) = answer[f"{side}s"]
        tensors[side] = {"name": name, "dtype": dtype, "shape": shape, "layout": layout_of(config, side)}
    mode = config["precision_config"]["precision_mode"]
    return {**tensors, "batches": batches, "precision_mode": mode, "calibration_windows": answer["samples"]}


def mm_run_command(
    model: Path,
    spec: GraphSpec,
    layout: tuple[str, str] | None,
    *,
    devices: tuple[int, ...] = (0,),
    threads: int = 1,
    iterations: int = 1000,
) -> list[str]:
    """The `mm_run` command that times a model at the graph's batch size.

    Args:
        model: the built model.
        spec: names and shapes of the graph.
        layout: the graph's layout and the model's input layout, which `--input_dims` uses; None if they are the same.
        devices: numbers of the MLUs to run on.
        threads: threads per device.
        iterations: number of calls to time.
    """
    dims = spec.batch_shape(spec.batch_size)
    if layout is not None:
        source, fed = layout
        dims = tuple(dims[source.index(axis)] for axis in fed)
    options = {
        "--magicmind_model": str(model),
        "--input_dims": ",".join(map(str, dims)),
        "--devices": ",".join(map(str, devices)),
        "--threads": str(threads),
        "--iterations": str(iterations),
    }
    return ["mm_run", *(part for option in options.items() for part in option)]


def measure_throughput(command: list[str], log: Path, timeout_s: float = 600.0) -> float:
    """Runs `mm_run` and returns samples per second (batch × iterations / seconds of the host).

    Raises:
        CompileError: `mm_run` is not installed, fails, or prints no throughput.
    """
    program = shutil.which("mm_run")
    if program is None:
        raise CompileError("mm_run is not on this machine", remedy="Install MagicMind, which includes it.")
    run_program([program, *command[1:]], log, timeout_s, title="mm_run")
    return parse_throughput(log.read_text(encoding="utf-8", errors="replace"))


def parse_throughput(text: str) -> float:
    """Reads the samples per second from the output of `mm_run`; its other lines are not documented.

    >>> parse_throughput("Throughput (qps): 144.81")
    144.81

    Raises:
        CompileError: the output has no line with the throughput.
    """
    found = _THROUGHPUT.findall(text)
    try:
        throughput = float(found[-1]) if found else math.nan
    except ValueError:
        throughput = math.nan
    if not 0 < throughput < math.inf:
        raise CompileError("mm_run printed no throughput", expected="a line `Throughput (qps): 123.4`")
    return throughput
