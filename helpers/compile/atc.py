"""Ascend's ATC: the command that a graph and a target need, and its run."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from helpers.compile.job import CompiledModel, CompileJob, Compiler, Report
from helpers.errors import CompileError
from helpers.graph.spec import GraphSpec
from helpers.params.targets import Target


class AtcCompiler(Compiler):
    """CANN's compiler, a program of its own."""

    runtime = "ascend"

    def identity(self, target: Target) -> dict[str, object] | None:
        """ATC's path."""
        return None

    def inputs(self, job: CompileJob) -> dict[str, object]:
        """The whole command."""
        return {"command": _command_of(job)}

    def commands(self, job: CompileJob) -> dict[str, str]:
        """ATC's own."""
        return {"atc": show_command(_command_of(job))}

    def compile(self, job: CompileJob, graph: Path, output: Path, report: Report) -> CompiledModel:
        """Not built yet."""
        raise CompileError("ATC is not run yet")


def atc_command(graph: Path, output: Path, spec: GraphSpec, target: Target, batch_size: int) -> list[str]:
    """ATC's command line as a list, for a model of one static batch size.

    Args:
        graph: the ONNX file (framework 5).
        output: the path of the `.om` without its suffix; ATC may add the platform's name before `.om`.
        spec: names and shapes; 5-D inputs need the NCDHW format.
        target: names the chip in `soc_version`.
        batch_size: the model's batch.
    """
    shape = ",".join(str(axis) for axis in spec.batch_shape(batch_size))
    return [
        "atc",
        "--framework=5",
        f"--model={graph}",
        f"--output={output}",
        f"--input_format={spec.input_format}",
        f"--input_shape={spec.input_name}:{shape}",
        f"--soc_version={target.soc_version}",
        "--log=error",
    ]


def _command_of(job: CompileJob) -> list[str]:
    batch = job.params.batch_size
    return atc_command(Path(job.graph_name), Path(job.output_name), job.spec, job.target, batch)


def show_command(command: list[str]) -> str:
    """A command as it can be pasted into a shell."""
    return shlex.join(command)


def find_atc() -> str | None:
    """ATC's path, or None where CANN's environment is not set up."""
    return shutil.which("atc")
