"""Cambricon MagicMind as one of the compilers: what a run's parameters mean for it."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from helpers.compile.job import CompiledModel, CompileJob, Compiler, Report
from helpers.compile.magicmind_build import (
    CalibrationSet,
    build_magicmind,
    describe_build,
    find_magicmind,
    show_build_command,
)
from helpers.compile.magicmind_config import allowed_batches, assemble_builder_config, layout_of
from helpers.compile.mm_run import find_mm_run, measure_throughput, mm_run_command
from helpers.compile.torchscript import compile_torchscript
from helpers.errors import CompileError
from helpers.params.targets import Target
from helpers.run.digest import digest_file
from helpers.run.result import mark_simulated

_TIMED_CALLS = 20


class MagicMindCompiler(Compiler):
    """MagicMind's parser, calibrator and builder, in the target's interpreter."""

    runtime = "magicmind"

    def identity(self, target: Target) -> dict[str, object] | None:
        """MagicMind's version in the target's interpreter."""
        here = find_magicmind(_python(target))
        return {"magicmind": here.version} if here else None

    def inputs(self, job: CompileJob) -> dict[str, object]:
        """Precision, batch and the user's keys; the checkpoint where it is traced, the cases where they calibrate."""
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
            inputs["calibration"] = {"algorithm": params.quantization_algorithm, **job.sample_inputs()}
        return inputs

    def commands(self, job: CompileJob) -> dict[str, str]:
        """The build program with its whole job, and MagicMind's own timer."""
        config = _configure(job, len(job.spec.input_shape) + 1)
        algorithm = job.params.quantization_algorithm
        windows = CalibrationSet(Path(job.samples_file), algorithm) if job.is_calibrated else None
        # Always from ONNX: that file is in the run's folder, and a traced network only where it is built from one.
        described = describe_build(Path(job.graph_name), Path(job.output_name), job.spec, config, windows)
        build = show_build_command(job.target.python or "python3", described)
        return {"magicmind": build, "mm_run": shlex.join(_timer(Path(described["output"]), job, config))}

    def compile(self, job: CompileJob, graph: Path, output: Path, report: Report) -> CompiledModel:
        """Writes `<output>.mm`, its interface and its builder's configuration."""
        output_shape = _output_shape(graph)
        config = _configure(job, len(output_shape))
        if job.params.compile_from == "torchscript":
            graph = compile_torchscript(job.network(), job.spec, output)
        settings = output.with_name("builder_config.json")
        settings.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        options = {"python": _python(job.target), "output_shape": output_shape, "report": report}
        options["timeout_s"] = job.params.build_timeout_s
        with tempfile.TemporaryDirectory() as folder:
            windows = _write_windows(job, Path(folder)) if job.is_calibrated else None
            path = build_magicmind(graph, output, job.spec, config, calibration=windows, **options)
        here = find_magicmind(_python(job.target))
        simulated = here is not None and here.is_double
        facts = _facts(job, config) | _time_here(path, job, config, simulated)
        files, batches = (path, path.with_suffix(".json")), tuple(allowed_batches(config, job.spec))
        return CompiledModel(files, batches, facts, simulated=simulated)


def _python(target: Target) -> str:
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


def _write_windows(job: CompileJob, folder: Path) -> CalibrationSet:
    """The calibration windows, (N, C, *spatial)."""
    np.savez(folder / "windows.npz", windows=job.samples().astype(np.float32, copy=False))
    return CalibrationSet(folder / "windows.npz", job.params.quantization_algorithm)


def _output_shape(graph: Path) -> tuple[int | None, ...]:
    """Shape of a graph's one output, None on open axes."""
    import onnx

    (output,) = onnx.load(str(graph), load_external_data=False).graph.output
    return tuple(axis.dim_value or None for axis in output.type.tensor_type.shape.dim)


def _facts(job: CompileJob, config: Mapping) -> dict[str, object]:
    batches = allowed_batches(config, job.spec)
    layout = layout_of(config, "input")
    facts: dict[str, object] = {
        "parsed from": {"onnx": "ONNX", "torchscript": "TorchScript"}[job.params.compile_from],
        "runs in": f"{config['precision_config']['precision_mode']}, fixed in the model",
        "batches": f"{batches[0]} to {batches[-1]}" if len(batches) > 1 else str(batches[0]),
        "fed in": layout[1] if layout else "the graph's own layout",
    }
    if job.is_calibrated:
        cases = job.sample_inputs()["cases"]
        facts["calibrated with"] = f"windows of {len(cases)} cases: {', '.join(cases)}"
    return facts


def _timer(model: Path, job: CompileJob, config: Mapping, **options: int) -> list[str]:
    return mm_run_command(model, job.spec, layout_of(config, "input"), **options)


def _time_here(model: Path, job: CompileJob, config: Mapping, simulated: bool) -> dict[str, object]:
    """What `mm_run` says where it is on this machine; no time is no reason to refuse a model."""
    if find_mm_run() is None:
        return {}
    command = _timer(model, job, config, iterations=_TIMED_CALLS)
    try:
        throughput = measure_throughput(command, model.with_name("mm_run.log"))
    except CompileError as error:
        return {"mm_run says": error.line()}
    rate = f"{throughput:.4g} samples/s{mark_simulated(simulated)}"
    return {"mm_run says": f"{rate}, {_TIMED_CALLS} calls of {job.spec.batch_size}"}
